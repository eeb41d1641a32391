"""One file, an overlay, then variables; mistakes are told by name."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from llmrouter.common.settings import SECTIONS, ConfigError, load_config, parse
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.suite import SuiteSettings


@pytest.fixture
def config(tmp_path):
    def write(text, environment=None):
        name = "llmrouter.yaml" if environment is None else f"llmrouter.{environment}.yaml"
        (tmp_path / name).write_text(text)
        return tmp_path / "llmrouter.yaml"

    return write


def test_variables_stand_over_the_overlay_and_the_overlay_over_the_file(config):
    path = config("gateway: {port: 1, host: a, selector_address: 'file:1'}")
    config("gateway: {port: 2, host: b}", "production")
    environ = {"LLMROUTER_ENV": "production", "LLMROUTER_GATEWAY__PORT": "3"}
    data = load_config(path, environ)
    settings = parse(GatewaySettings, data["gateway"], "gateway")
    assert (settings.port, settings.host, settings.selector_address) == (3, "b", "file:1")


def test_the_overlay_of_another_environment_is_not_read(config):
    path = config("gateway: {port: 1}")
    config("gateway: {port: 2}", "production")
    assert load_config(path, {}) == {"gateway": {"port": 1}}


def test_a_variable_names_the_file(config):
    path = config("gateway: {port: 7}")
    assert load_config(None, {"LLMROUTER_CONFIG": str(path)}) == {"gateway": {"port": 7}}


def test_an_empty_variable_names_no_file():
    assert load_config(None, {"LLMROUTER_CONFIG": ""}) == {}


def test_an_unknown_field_of_a_section_is_told_with_the_fields_of_that_section():
    with pytest.raises(ConfigError, match=r"gateway\.prot is not .* gateway knows .*port"):
        parse(SuiteSettings, {"gateway": {"prot": 5}}, "")


def test_without_a_file_everything_has_a_default():
    assert load_config(None, {}) == {}
    assert parse(GatewaySettings, None, "gateway").port == 50051


def test_an_unknown_field_is_named_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"gateway\.prot is not a setting.*port"):
        parse(GatewaySettings, {"prot": 1}, "gateway")


@pytest.mark.parametrize(
    "data",
    [
        {"port": 70000},
        {"port": "x"},
        {"host": ""},
        {"selector_timeout_seconds": 0},
        {"default_deadline_seconds": 60, "max_deadline_seconds": 30},
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(data):
    with pytest.raises(ConfigError, match=r"^gateway"):
        parse(GatewaySettings, data, "gateway")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"port": 70000}, "gateway.port: must be at most 65535, not 70000"),
        ({"port": "x"}, "gateway.port: must be a whole number, not 'x'"),
        ({"port": True}, "gateway.port: must be a number, not True"),
        ({"cache_timeout_seconds": False}, "gateway.cache_timeout_seconds: must be a number, not"),
        ({"cache_timeout_seconds": float("nan")}, "must be a finite number, not nan"),
        ({"host": ""}, "gateway.host: must not be empty, not ''"),
        ({"host": ["a"]}, "gateway.host: must be text, not ['a']"),
        ([1], "gateway: must hold settings, one per line, not [1]"),
        (
            {"default_deadline_seconds": 60, "max_deadline_seconds": 30},
            "gateway: default_deadline_seconds 60 must not exceed max_deadline_seconds 30; lower",
        ),
        (
            {"retry": {"initial_seconds": 3}},
            "gateway.retry: initial_seconds 3 must not exceed max_seconds 2; lower the first",
        ),
        (
            {
                "limits": {
                    "rules": [{"name": "a", "concurrent_streams": 1, "per": ["user", "user"]}]
                }
            },
            "gateway.limits.rules.0: per names user twice; name each once",
        ),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(data, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        parse(GatewaySettings, data, "gateway", {})


def test_a_wrong_value_of_a_variable_is_told_with_the_variable():
    environ = {"LLMROUTER_GATEWAY__PORT": "x", "LLMROUTER_CACHE__SIZE": "1"}
    with pytest.raises(ConfigError, match=r"^gateway\.port \(from LLMROUTER_GATEWAY__PORT\): must"):
        parse(SuiteSettings, {"gateway": {"port": "x"}}, "", environ)
    with pytest.raises(ConfigError, match=r"^cache\.size \(from LLMROUTER_CACHE__SIZE\) is not a"):
        parse(SuiteSettings, {"cache": {"size": 1}}, "", environ)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LLMROUTER_INFERENCE__MODELS", "[1]"),
        ("LLMROUTER_INFERENCE", "{models: [1]}"),
        ("LLMROUTER_inference__Models", "[1]"),
    ],
)
def test_a_variable_that_holds_the_wrong_value_is_told_however_it_is_written(variable, value):
    with pytest.raises(ConfigError, match=rf"^inference\.models\.0 \(from {variable}\): must be"):
        parse(SuiteSettings, load_config(None, {variable: value}), "", {variable: value})


@pytest.mark.parametrize(
    ("environment", "anonymous"),
    [("development", "loopback"), ("staging", "never"), ("production", "never")],
)
def test_only_in_development_are_callers_without_a_credential_let_in_unless_it_is_set(
    config, environment, anonymous
):
    environ = {"LLMROUTER_ENV": environment}
    settings = parse(SuiteSettings, load_config(None, environ), "", environ)
    assert settings.gateway.identity.anonymous == anonymous
    path = config("gateway: {identity: {anonymous: always}}")
    settings = parse(SuiteSettings, load_config(path, environ), "", environ)
    assert settings.gateway.identity.anonymous == "always"


def test_settings_are_frozen():
    settings = parse(GatewaySettings, {}, "gateway")
    with pytest.raises(ValidationError):
        settings.port = 1


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_described(section):
    settings = SuiteSettings.model_fields[section].annotation
    undescribed = [name for name, field in settings.model_fields.items() if not field.description]
    assert undescribed == []


@pytest.mark.parametrize("text", ["gateway: {api_key: x}", "cache: [{db_password: x}]", "token: x"])
def test_an_inline_secret_is_refused_without_being_repeated(config, text):
    with pytest.raises(ConfigError, match="holds a secret inline") as failure:
        load_config(config(text.replace("x}", "hunter2}").replace(": x", ": hunter2")), {})
    assert "hunter2" not in str(failure.value)


def test_a_secret_may_come_from_a_variable_or_be_named_by_a_file(config):
    path = config("gateway: {api_key_file: /run/secrets/key}")
    data = load_config(path, {"LLMROUTER_GATEWAY__API_KEY": "x"})
    assert data["gateway"]["api_key"] == "x"


@pytest.mark.parametrize("value", ["31415926", "2.5", "true", "2020-01-01"])
def test_a_secret_that_is_no_text_is_inline_as_well(config, value):
    with pytest.raises(ConfigError, match=r"^cache\.shared\.password in .* holds a secret inline"):
        load_config(config(f"cache: {{shared: {{password: {value}}}}}"), {})


def test_what_counts_tokens_of_text_is_no_secret(config):
    path = config("selector: {catalog: [{name: m, seconds_per_token: 0.5}]}")
    assert load_config(path, {})["selector"]["catalog"][0]["seconds_per_token"] == 0.5


@pytest.mark.parametrize(
    "said", ["31415926", "abc #def", "null", "0123", "yes", "{a: b}", "[x]", "'quoted'", "- "]
)
def test_a_variable_gives_a_text_as_it_is_written(said):
    environ = {
        "LLMROUTER_CACHE__SHARED__ADDRESS": "a:1",
        "LLMROUTER_CACHE__SHARED__PASSWORD": said,
        "LLMROUTER_CACHE__SHARED__USER": said,
        "LLMROUTER_CACHE__SHARED__CA_FILE": said,
        "LLMROUTER_CACHE__SHARED__TLS": "yes",
    }
    shared = parse(SuiteSettings, load_config(None, environ), "", environ).cache.shared
    assert (shared.password.get_secret_value(), shared.user) == (said, said)
    assert (shared.ca_file, shared.tls) == (Path(said), True)


def test_a_variable_without_text_gives_none_where_there_may_be_none():
    environ = {"LLMROUTER_CACHE__SHARED__ADDRESS": "a:1", "LLMROUTER_CACHE__SHARED__PASSWORD": ""}
    shared = parse(SuiteSettings, load_config(None, environ), "", environ).cache.shared
    assert shared.password is None


def test_variables_of_a_part_and_of_a_setting_in_it_count_together(config):
    environ = {
        "LLMROUTER_CACHE__SHARED": "{address: 'a:1', database: 3}",
        "LLMROUTER_CACHE__SHARED__PASSWORD": "0123",
        "LLMROUTER_SELECTOR__STRATEGIES__MINE__WEIGHTS": "{cost: 1}",
        "LLMROUTER_SELECTOR__STRATEGIES__MINE__PICKER": "best",
    }
    path = config("cache: {shared: {user: me}}")
    settings = parse(SuiteSettings, load_config(path, environ), "", environ)
    shared = settings.cache.shared
    assert (shared.address, shared.database, shared.user) == ("a:1", 3, "me")
    assert shared.password.get_secret_value() == "0123"
    assert settings.selector.strategies["mine"].weights == {"cost": 1}


@pytest.mark.parametrize(
    "environ",
    [
        {"LLMROUTER_CACHE__SHARED": "{address: 'a:1', password: 31415926}"},
        {"LLMROUTER_CACHE__SHARED": "[{password: 31415926}]"},
        {"LLMROUTER_CACHE__PORT": "{api_key: 31415926}"},
    ],
)
def test_a_secret_that_is_refused_is_not_shown(environ):
    with pytest.raises(ConfigError) as failure:
        parse(SuiteSettings, load_config(None, environ), "", environ)
    assert "must" in str(failure.value)
    assert "31415926" not in str(failure.value)


@pytest.mark.parametrize("text", ["- a", "a: [", "\x00"])
def test_a_file_that_is_no_configuration_is_refused_by_its_name(config, text):
    with pytest.raises(ConfigError, match=r"llmrouter\.yaml"):
        load_config(config(text), {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "gateway:\n  port: [\n",
            r"llmrouter\.yaml is not YAML: line 3, column 1: expected the node",
        ),
        ("\x00", r"llmrouter\.yaml is not YAML: character 1: special characters are not"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_the_files_name_and_its_place(config, text, told):
    with pytest.raises(ConfigError, match=told):
        load_config(config(text), {})


def test_what_is_no_section_is_told_with_the_variable_that_gave_it():
    told = r"^colour \(from LLMROUTER_COLOUR\) is not a setting; the top level knows cache, gateway"
    with pytest.raises(ConfigError, match=told):
        load_config(None, {"LLMROUTER_COLOUR": "red"})


def test_what_is_no_section_is_told_with_the_file_that_has_it(config):
    path = config("gatewai: {port: 1}")
    told = rf"^gatewai \(in {re.escape(str(path))}\) is not a setting; the top level knows cache"
    with pytest.raises(ConfigError, match=told):
        load_config(path, {})


@pytest.mark.parametrize(
    ("file", "overlay", "told"),
    [
        ("gateway: {prot: 1}", "gateway: {port: 1}", r"gateway\.prot \(in .*llmrouter\.yaml\) is"),
        ("{}", "gateway: {prot: 1}", r"gateway\.prot \(in .*llmrouter\.staging\.yaml\) is not"),
        ("gateway: {port: x}", "{}", r"gateway\.port \(in .*llmrouter\.yaml\): must be a whole"),
        (
            "gateway: {port: 1}", "gateway: {port: x}",
            r"gateway\.port \(in .*llmrouter\.staging\.yaml\): must be a whole number",
        ),
        (
            "selector: {catalog: [{name: a}, {quality: 1}]}", "selector: {port: 1}",
            r"selector\.catalog\.1\.name \(in .*llmrouter\.yaml\): must be given",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_the_file_that_says_it(config, file, overlay, told):
    path = config(file)
    config(overlay, "staging")
    environ = {"LLMROUTER_ENV": "staging"}
    given = load_config(path, environ)
    with pytest.raises(ConfigError, match=told):
        parse(SuiteSettings, given, "", environ, given.files)


def test_a_variable_over_a_file_is_what_is_told(config):
    environ = {"LLMROUTER_GATEWAY__PORT": "x"}
    given = load_config(config("gateway: {port: 1}"), environ)
    with pytest.raises(ConfigError, match=r"^gateway\.port \(from LLMROUTER_GATEWAY__PORT\)"):
        parse(SuiteSettings, given, "", environ, given.files)


def test_what_variables_say_to_those_who_ask_is_no_setting():
    assert load_config(None, {"LLMROUTER_ADDRESS": "a:1", "LLMROUTER_API_KEY": "llmr_x"}) == {}


@pytest.mark.parametrize(
    "address", ["nonsense", "", "a:0", "a:70000", "http://a:1", "a b:1", "::1:5"]
)
def test_an_address_without_host_or_port_is_refused_by_the_name_of_its_setting(address):
    with pytest.raises(ConfigError, match=r"^gateway\.selector_address: must be host:port"):
        parse(SuiteSettings, {"gateway": {"selector_address": address}}, "", {})
    with pytest.raises(ConfigError, match=r"^selector\.inference_addresses\.1: must be host:port"):
        parse(SuiteSettings, {"selector": {"inference_addresses": ["a:1", address]}}, "", {})


def test_a_missing_file_and_an_unknown_environment_are_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="development, staging, production"):
        load_config(None, {"LLMROUTER_ENV": "prod"})


def test_what_kubernetes_tells_of_services_is_no_setting(config):
    path = config("gateway: {port: 7}")
    environ = {
        "LLMROUTER_GATEWAY_PORT": "tcp://10.0.0.1:50051",
        "LLMROUTER_GATEWAY_SERVICE_HOST": "10.0.0.1",
        "LLMROUTER_GATEWAY_SERVICE_PORT_GRPC": "50051",
        "LLMROUTER_GATEWAY_PORT_50051_TCP": "tcp://10.0.0.1:50051",
        "LLMROUTER_GATEWAY_PORT_50051_TCP_ADDR": "10.0.0.1",
    }
    assert load_config(path, environ) == {"gateway": {"port": 7}}
    with pytest.raises(ConfigError, match=r"^gateway_port \(from LLMROUTER_GATEWAY_PORT\)"):
        load_config(path, {"LLMROUTER_GATEWAY_PORT": "7"})


def test_a_key_that_stands_twice_is_refused_with_its_line(config):
    path = config("selector: {default_strategy: nope}\ngateway: {port: 0}\nselector: {port: 0}\n")
    with pytest.raises(ConfigError, match="'selector' stands twice, the second time in line 3"):
        load_config(path, {})


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(
            ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
        ),
        "a: &a [*a]",
    ],
)
def test_a_file_that_grows_by_its_aliases_is_refused_at_once(config, text):
    with pytest.raises(ConfigError, match="over 100000 values, aliases counted"):
        load_config(config(text), {})


def test_aliases_may_spare_repetition(config):
    path = config("gateway: &common {drain_grace_seconds: 3}\nselector: *common\n")
    assert load_config(path, {})["selector"] == {"drain_grace_seconds": 3}
