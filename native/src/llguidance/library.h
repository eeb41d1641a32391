#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace llmrouter::llguidance {

// The part of llguidance's C interface that is used, as of version 1.9 (its llguidance.h). Opening
// the library checks that these layouts are those it fills in.

struct LlgTokenizer;
struct LlgMatcher;

/// Fields of 0 take the library's defaults.
struct ParserLimits {
  std::size_t max_items_in_row = 0;
  std::uint64_t initial_lexer_fuel = 0;
  std::uint64_t step_lexer_fuel = 0;
  std::size_t step_max_items = 0;
  std::size_t max_lexer_states = 0;
  std::size_t max_grammar_size = 0;
  bool precompute_large_lexemes = false;
  bool verbose_errors = false;
};

struct ConstraintInit {
  const LlgTokenizer* tokenizer = nullptr;
  std::uint32_t log_buffer_level = 0;
  std::uint32_t log_stderr_level = 0;
  bool ff_tokens_ok = false;
  bool backtrack_ok = false;
  ParserLimits limits;
};

using TokenizeFunction = std::size_t (*)(const void* user_data, const std::uint8_t* bytes,
                                         std::size_t bytes_len, std::uint32_t* tokens,
                                         std::size_t tokens_len);

struct TokenizerInit {
  std::size_t struct_size = sizeof(TokenizerInit);
  std::uint32_t vocab_size = 0;
  std::uint32_t tok_eos = 0;
  const std::uint32_t* token_lens = nullptr;
  const std::uint8_t* token_bytes = nullptr;
  const char* tokenizer_json = nullptr;
  bool tokenize_assumes_string = false;
  TokenizeFunction tokenize_fn = nullptr;
  bool use_approximate_greedy_tokenize_fn = false;
  const void* tokenize_user_data = nullptr;
  const char* const* slices = nullptr;
  const std::uint32_t* tok_eos_extra = nullptr;
  std::uint32_t tok_eos_extra_count = 0;
};

/// The functions of the opened library.
struct Api {
  const char* (*get_version)();
  void (*constraint_init_set_defaults)(ConstraintInit* init, const LlgTokenizer* tokenizer);
  LlgTokenizer* (*new_tokenizer_v2)(const TokenizerInit* init, char* error, std::size_t error_len);
  void (*free_tokenizer)(LlgTokenizer* tokenizer);
  LlgMatcher* (*new_matcher)(const ConstraintInit* init, const char* kind, const char* text);
  LlgMatcher* (*clone_matcher)(const LlgMatcher* matcher);
  void (*free_matcher)(LlgMatcher* matcher);
  const char* (*matcher_get_error)(LlgMatcher* matcher);
  std::int32_t (*matcher_consume_token)(LlgMatcher* matcher, std::uint32_t token);
  std::int32_t (*matcher_compute_mask_into)(LlgMatcher* matcher, std::uint32_t* mask,
                                            std::size_t mask_bytes);
  std::size_t (*matcher_get_mask_byte_size)(const LlgMatcher* matcher);
};

/// Opens the library at a path; it stays open as long as the process lives. Throws `Error`
/// kModelUnavailable.
const Api& Open(const std::string& library);

}  // namespace llmrouter::llguidance
