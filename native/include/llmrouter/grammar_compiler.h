#pragma once

#include <memory>
#include <string>
#include <vector>

#include "llmrouter/constraint.h"

namespace llmrouter {

namespace llguidance {
class Tokens;
}

/// Compiles grammars for one vocabulary with the library llguidance, without Python. Callable from
/// any thread.
class GrammarCompiler {
 public:
  /// Opens the shared library at the path `library` and prepares the vocabulary, which takes some
  /// tenths of a second. `tokens` are the bytes of each token, empty for those without text. Throws
  /// `Error` kModelUnavailable when this is not the library, or not the version, that we know.
  GrammarCompiler(const std::string& library, const std::vector<std::string>& tokens,
                  const std::vector<TokenId>& end_tokens);

  /// Compiles `text` of the kind `json_schema`, `regex` or `lark`. Throws `Error` kInvalidArgument
  /// with the library's own words where it is wrong, matches nothing or costs too much.
  std::shared_ptr<Grammar> Compile(const std::string& kind, const std::string& text) const;

 private:
  std::shared_ptr<const llguidance::Tokens> tokens_;
};

}  // namespace llmrouter
