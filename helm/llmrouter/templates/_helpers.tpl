{{- define "llmrouter.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What pods of one component are found by: (dict "root" $ "component" "gateway") */}}
{{- define "llmrouter.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "llmrouter.labels" -}}
{{ include "llmrouter.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: llmrouter
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "llmrouter.serviceAccount" -}}
{{- default (ternary (include "llmrouter.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* The image of a component: its own where it names one. */}}
{{- define "llmrouter.image" -}}
{{- $own := default dict .values.image -}}
{{- $repository := default .root.Values.image.repository $own.repository -}}
{{- $digest := $own.digest -}}
{{- if not (or $own.digest $own.tag $own.repository) -}}{{- $digest = .root.Values.image.digest -}}{{- end -}}
{{- if $digest -}}
{{- printf "%s@%s" $repository $digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default (default .root.Chart.AppVersion .root.Values.image.tag) $own.tag) -}}
{{- end -}}
{{- end -}}

{{/* Everything that is deployed: components by name, as JSON. A pool is a component of service inference. */}}
{{- define "llmrouter.components" -}}
{{- $found := dict -}}
{{- if not .Values.gatewayApi.only -}}
{{- range $service := list "gateway" "selector" "cache" -}}
{{- $_ := set $found $service (dict "service" $service "values" (get $.Values $service)) -}}
{{- end -}}
{{- range $pool, $differs := .Values.inference.pools -}}
{{- $values := mergeOverwrite (deepCopy $.Values.inference.defaults) (default dict $differs) -}}
{{- $_ := set $found (printf "inference-%s" $pool) (dict "service" "inference" "values" $values) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "llmrouter.port" -}}
{{- get (dict "gateway" 50051 "selector" 50052 "cache" 50053 "inference" 50054) . -}}
{{- end -}}

{{/* The name in DNS of a component's Service: (dict "root" $ "name" "cache") */}}
{{- define "llmrouter.host" -}}
{{- printf "%s-%s.%s.svc.%s" (include "llmrouter.fullname" .root) .name .root.Release.Namespace .root.Values.clusterDomain -}}
{{- end -}}

{{/* Replicas of a component at most, those too that an autoscaler may add. */}}
{{- define "llmrouter.most" -}}
{{- $scaling := default dict .autoscaling -}}
{{- if or $scaling.enabled (has $scaling.kind (list "hpa" "keda")) -}}
{{- if gt (int $scaling.min) (int $scaling.max) -}}
{{- fail (printf "autoscaling.min %d must not exceed autoscaling.max %d" (int $scaling.min) (int $scaling.max)) -}}
{{- end -}}
{{- int $scaling.max -}}
{{- else -}}
{{- int .replicas -}}
{{- end -}}
{{- end -}}

{{/* Every pool and what each of its replicas is reached at, as the selector scales them; JSON. */}}
{{- define "llmrouter.pools" -}}
{{- $pools := dict -}}
{{- range $component, $it := fromJson (include "llmrouter.components" .) -}}
{{- $most := int (include "llmrouter.most" $it.values) -}}
{{- if and (eq $it.service "inference") $most -}}
{{- $name := printf "%s-%s" (include "llmrouter.fullname" $) $component -}}
{{- $addresses := list -}}
{{- range $index := until $most -}}
{{- $addresses = append $addresses (printf "%s-%d.%s:50054" $name $index (include "llmrouter.host" (dict "root" $ "name" $component))) -}}
{{- end -}}
{{- $pool := dict "addresses" $addresses -}}
{{- if ne $it.values.autoscaling.kind "none" -}}
{{- $pool = merge $pool (dict "least" (int $it.values.autoscaling.min) "most" $most) -}}
{{- end -}}
{{- $_ := set $pools $name $pool -}}
{{- end -}}
{{- end -}}
{{- toJson $pools -}}
{{- end -}}

{{/* Whether a service uses the Redis of the values: (dict "root" $ "service" "cache") */}}
{{- define "llmrouter.sharesRedis" -}}
{{- $redis := .root.Values.redis -}}
{{- if and $redis.address (get (dict "gateway" $redis.limits "selector" $redis.selector "cache" $redis.cache) .service) -}}true{{- end -}}
{{- end -}}

{{/* How it is reached, as JSON. */}}
{{- define "llmrouter.redis" -}}
{{- $made := dict "address" .address "database" (int .database) "user" .user "tls" .tls "prefix" .prefix -}}
{{- if .passwordSecret.name -}}{{- $_ := set $made "password_file" "/etc/llmrouter-redis/password" -}}{{- end -}}
{{- if and .tls .caSecret.name -}}{{- $_ := set $made "ca_file" "/etc/llmrouter-redis/ca.crt" -}}{{- end -}}
{{- toJson $made -}}
{{- end -}}

{{/* Refuse what is set beside what the chart decides: (dict "component" … "path" "settings" "decided" … "given" …) */}}
{{- define "llmrouter.refuseDecided" -}}
{{- range $name, $value := .given -}}
{{- if hasKey $.decided $name -}}
{{- $path := printf "%s.%s" $.path $name -}}
{{- $decided := get $.decided $name -}}
{{- if and (kindIs "map" $decided) (kindIs "map" $value) -}}
{{- include "llmrouter.refuseDecided" (dict "component" $.component "path" $path "decided" $decided "given" $value) -}}
{{- else -}}
{{- fail (printf "%s: %s is decided by the chart; take it out (drain_grace_seconds is drainSeconds)" $.component $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Section `telemetry` of every component. */}}
{{- define "llmrouter.telemetry" -}}
{{- $told := .Values.telemetry -}}
{{- $decided := dict "prometheus" (dict "enabled" $told.metrics "host" "0.0.0.0" "port" 9464) "otlp_endpoint" $told.otlpEndpoint -}}
{{- if $told.otlpHeadersSecret.name -}}{{- $_ := set $decided "otlp_headers_file" "/etc/llmrouter-otlp/headers" -}}{{- end -}}
{{- include "llmrouter.refuseDecided" (dict "component" "telemetry" "path" "settings" "decided" $decided "given" $told.settings) -}}
{{- toJson (merge $decided $told.settings) -}}
{{- end -}}

{{/* The configuration of one component: what is set, and what the chart decides above it. */}}
{{- define "llmrouter.config" -}}
{{- $decided := dict "host" "0.0.0.0" "port" (int (include "llmrouter.port" .service)) "health_port" 50060 "drain_grace_seconds" (int .values.drainSeconds) -}}
{{- $tls := dict "certificate_file" "/etc/llmrouter-tls/tls.crt" "key_file" "/etc/llmrouter-tls/tls.key" -}}
{{- $ca := "/etc/llmrouter-tls/ca.crt" -}}
{{- if ne .root.Values.tls.mode "none" -}}
{{- $asks := or (ne .service "gateway") .root.Values.tls.gatewayClients -}}
{{- $_ := set $decided "tls" (ternary (set (deepCopy $tls) "client_ca_file" $ca) $tls $asks) -}}
{{- if or (eq .service "gateway") (eq .service "selector") -}}
{{- $_ := set $decided "dial_tls" (set (deepCopy $tls) "ca_file" $ca) -}}
{{- end -}}
{{- end -}}
{{- if eq .service "gateway" -}}
{{- $data := "/var/lib/llmrouter" -}}
{{- $keys := ternary "/etc/llmrouter-keys" $data (ne .values.keysSecret "") -}}
{{- $identity := dict "key_store" (printf "%s/keys.sqlite" $keys) "audit_file" (printf "%s/audit.jsonl" $data) -}}
{{- if .values.keysSecret -}}{{- $_ := set $identity "hash_secret_file" (printf "%s/keys.sqlite.secret" $keys) -}}{{- end -}}
{{- $limits := dict "file" (printf "%s/limits.sqlite" $data) -}}
{{- if include "llmrouter.sharesRedis" . -}}{{- $limits = dict "redis" (fromJson (include "llmrouter.redis" .root.Values.redis)) -}}{{- end -}}
{{- $_ := set $decided "identity" $identity -}}
{{- $_ := set $decided "limits" $limits -}}
{{- $_ := set $decided "ledger" (dict "file" (printf "%s/ledger.sqlite" $data)) -}}
{{- $_ := set $decided "http_port" (ternary 8080 nil .values.http) -}}
{{- $_ := set $decided "selector_address" (printf "%s:50052" (include "llmrouter.host" (dict "root" .root "name" "selector"))) -}}
{{- $_ := set $decided "cache_address" (printf "%s:50053" (include "llmrouter.host" (dict "root" .root "name" "cache"))) -}}
{{- else if eq .service "selector" -}}
{{- $pools := fromJson (include "llmrouter.pools" .root) -}}
{{- $addresses := list -}}
{{- range $name, $pool := $pools -}}{{- $addresses = concat $addresses $pool.addresses -}}{{- end -}}
{{- $_ := set $decided "inference_addresses" $addresses -}}
{{- $_ := set $decided "scaling" (dict "pools" $pools) -}}
{{- if include "llmrouter.sharesRedis" . -}}
{{- $_ := set $decided "redis" (fromJson (include "llmrouter.redis" .root.Values.redis)) -}}
{{- else if gt (int .values.replicas) 1 -}}
{{- fail "selector.replicas above 1 needs redis.address and redis.selector: each would know rollouts of its own" -}}
{{- end -}}
{{- $_ := set $decided "state_path" "/var/lib/llmrouter/selector.sqlite" -}}
{{- else if eq .service "cache" -}}
{{- if .values.persistence.enabled -}}
{{- $_ := set $decided "disk_path" "/var/lib/llmrouter/answers" -}}
{{- else -}}
{{- $_ := set $decided "disk_max_bytes" 0 -}}
{{- end -}}
{{- if include "llmrouter.sharesRedis" . -}}
{{- $_ := set $decided "shared" (fromJson (include "llmrouter.redis" .root.Values.redis)) -}}
{{- else if gt (int .values.replicas) 1 -}}
{{- fail "cache.replicas above 1 needs redis.address and redis.cache: each would keep answers of its own" -}}
{{- end -}}
{{- else -}}
{{- $_ := set $decided "store" "/var/lib/llmrouter/models" -}}
{{- end -}}
{{- include "llmrouter.refuseDecided" (dict "component" .component "path" "settings" "decided" $decided "given" .values.settings) -}}
{{- toYaml (dict .service (merge $decided .values.settings) "telemetry" (fromJson (include "llmrouter.telemetry" .root))) -}}
{{- end -}}
