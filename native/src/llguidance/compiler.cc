#include <array>
#include <mutex>
#include <utility>

#include "llguidance/library.h"
#include "llmrouter/grammar_compiler.h"

namespace llmrouter {
namespace llguidance {
namespace {

/// The library's mark of control tokens; no UTF-8 text has this byte.
constexpr char kControlMark = '\xFF';

/// What one grammar and one of its masks may cost. About 5 ms of lexing and 3 ms of parsing per
/// mask, 20 MB of lexer states per answer; all beyond it is refused or ends the answer.
constexpr ParserLimits kLimits = {
    .max_items_in_row = 2000,
    .initial_lexer_fuel = 500'000,
    .step_lexer_fuel = 100'000,
    .step_max_items = 50'000,
    .max_lexer_states = 20'000,
    .max_grammar_size = 100'000,
    .precompute_large_lexemes = true,
    .verbose_errors = false,
};

}  // namespace

/// The vocabulary as the library holds it.
class Tokens {
 public:
  Tokens(const Api& api, const std::vector<std::string>& tokens,
         const std::vector<TokenId>& end_tokens)
      : api_(api), vocabulary_(static_cast<int>(tokens.size())) {
    if (end_tokens.empty()) {
      throw Error(ErrorCode::kModelUnavailable, "a model without end tokens cannot be constrained");
    }
    std::string bytes;
    std::vector<std::uint32_t> lengths;
    for (const std::string& token : tokens) {
      const bool usable = token.empty() || token.front() != kControlMark;
      if (usable) bytes += token;
      lengths.push_back(usable ? static_cast<std::uint32_t>(token.size()) : 0);
    }
    const std::vector<std::uint32_t> others(end_tokens.begin() + 1, end_tokens.end());
    TokenizerInit init;
    init.vocab_size = static_cast<std::uint32_t>(tokens.size());
    init.tok_eos = static_cast<std::uint32_t>(end_tokens.front());
    init.token_lens = lengths.data();
    init.token_bytes = reinterpret_cast<const std::uint8_t*>(bytes.data());
    // Only forced tokens would need the true tokenizer, and those are drawn like any other.
    init.use_approximate_greedy_tokenize_fn = true;
    init.tok_eos_extra = others.empty() ? nullptr : others.data();
    init.tok_eos_extra_count = static_cast<std::uint32_t>(others.size());
    std::array<char, 512> error{};
    tokenizer_ = api_.new_tokenizer_v2(&init, error.data(), error.size());
    if (tokenizer_ == nullptr) {
      throw Error(ErrorCode::kModelUnavailable,
                  "llguidance refuses the vocabulary: " + std::string(error.data()));
    }
  }
  ~Tokens() { api_.free_tokenizer(tokenizer_); }
  Tokens(const Tokens&) = delete;
  Tokens& operator=(const Tokens&) = delete;

  const Api& api() const { return api_; }
  const LlgTokenizer* tokenizer() const { return tokenizer_; }
  int vocabulary() const { return vocabulary_; }

 private:
  const Api& api_;
  const int vocabulary_;
  LlgTokenizer* tokenizer_ = nullptr;
};

namespace {

/// A matcher of the library, and the tokens it must not outlive.
class Handle {
 public:
  Handle(std::shared_ptr<const Tokens> tokens, LlgMatcher* matcher)
      : tokens_(std::move(tokens)), matcher_(matcher) {}
  ~Handle() { tokens_->api().free_matcher(matcher_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  /// What is wrong with it; nothing while it is usable.
  std::optional<Failure> Wrong() const {
    const char* error = tokens_->api().matcher_get_error(matcher_);
    return error == nullptr ? std::nullopt : std::optional(Failure{error});
  }

  bool FillMask(std::span<std::uint32_t> mask) {
    return tokens_->api().matcher_compute_mask_into(matcher_, mask.data(), mask.size_bytes()) == 0;
  }

  bool Take(TokenId token) {
    return tokens_->api().matcher_consume_token(matcher_, static_cast<std::uint32_t>(token)) == 0;
  }

  std::unique_ptr<Handle> Clone() const {
    return std::make_unique<Handle>(tokens_, tokens_->api().clone_matcher(matcher_));
  }

 private:
  const std::shared_ptr<const Tokens> tokens_;
  LlgMatcher* const matcher_;
};

class LlgAnswer : public Matcher {
 public:
  explicit LlgAnswer(std::unique_ptr<Handle> handle) : handle_(std::move(handle)) {}

  std::optional<Failure> Advance(TokenId token, std::span<std::uint32_t> mask) override {
    if (handle_->Take(token) && handle_->FillMask(mask)) return std::nullopt;
    const auto wrong = handle_->Wrong();
    if (!wrong) return Failure{"llguidance does not say why"};
    return Failure{wrong->message.substr(0, wrong->message.find('\n'))};
  }

 private:
  const std::unique_ptr<Handle> handle_;
};

class LlgGrammar : public Grammar {
 public:
  LlgGrammar(std::unique_ptr<Handle> fresh, TokenMask first_mask)
      : fresh_(std::move(fresh)), first_mask_(std::move(first_mask)) {}

  std::unique_ptr<Matcher> Start() const override {
    const std::lock_guard lock(mutex_);
    return std::make_unique<LlgAnswer>(fresh_->Clone());
  }
  std::span<const std::uint32_t> first_mask() const override { return first_mask_; }

 private:
  mutable std::mutex mutex_;
  const std::unique_ptr<Handle> fresh_;
  const TokenMask first_mask_;
};

}  // namespace
}  // namespace llguidance

GrammarCompiler::GrammarCompiler(const std::string& library, const std::vector<std::string>& tokens,
                                 const std::vector<TokenId>& end_tokens)
    : tokens_(std::make_shared<llguidance::Tokens>(llguidance::Open(library), tokens, end_tokens)) {
}

std::shared_ptr<Grammar> GrammarCompiler::Compile(const std::string& kind,
                                                  const std::string& text) const {
  const llguidance::Api& api = tokens_->api();
  llguidance::ConstraintInit init;
  api.constraint_init_set_defaults(&init, tokens_->tokenizer());
  init.log_stderr_level = 0;
  init.limits = llguidance::kLimits;
  auto fresh = std::make_unique<llguidance::Handle>(
      tokens_, api.new_matcher(&init, kind.c_str(), text.c_str()));
  TokenMask first(MaskWords(tokens_->vocabulary()));
  // The first mask shows whether anything matches at all, and warms what answers start from.
  if (const auto wrong = fresh->Wrong()) throw Error(ErrorCode::kInvalidArgument, wrong->message);
  if (!fresh->FillMask(first)) {
    const auto wrong = fresh->Wrong();
    throw Error(ErrorCode::kInvalidArgument,
                wrong ? wrong->message : "llguidance computes no mask for it");
  }
  return std::make_shared<llguidance::LlgGrammar>(std::move(fresh), std::move(first));
}

}  // namespace llmrouter
