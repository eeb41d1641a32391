#include "llmrouter/text_stream.h"

#include <gtest/gtest.h>

#include "llmrouter/vocabulary.h"

namespace llmrouter {
namespace {

const std::string kReplacement = "\xEF\xBF\xBD";

std::string All(TextStream& stream, const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += stream.Push(piece);
  return text + stream.Finish();
}

std::string Decoded(const std::string& bytes) {
  TextStream stream({});
  const std::string whole = All(stream, {bytes});
  TextStream bytewise({});
  std::vector<std::string> pieces;
  for (const char byte : bytes) pieces.emplace_back(1, byte);
  EXPECT_EQ(All(bytewise, pieces), whole) << "the text depends on how the bytes were cut";
  return whole;
}

TEST(TextStream, AMultiByteCharacterSplitOverTokensComesWhole) {
  TextStream stream({});
  EXPECT_EQ(stream.Push("a\xF0\x9F"), "a");
  EXPECT_EQ(stream.Push("\x98"), "");
  EXPECT_EQ(stream.Push("\x80!"), "\xF0\x9F\x98\x80!");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(TextStream, AnUnfinishedCharacterAtTheEndBecomesOneReplacement) {
  TextStream stream({});
  EXPECT_EQ(stream.Push("x\xE2\x82"), "x");
  EXPECT_EQ(stream.Finish(), kReplacement);
}

TEST(TextStream, InvalidBytesAreReplacedAsSoonAsTheyAreDefinite) {
  TextStream stream({});
  EXPECT_EQ(stream.Push("\xE2\x82"), "");
  EXPECT_EQ(stream.Push("A"), kReplacement + "A");
}

TEST(TextStream, InvalidPartsFollowTheUnicodeStandard) {
  EXPECT_EQ(Decoded("\xFF"), kReplacement);
  EXPECT_EQ(Decoded("\xC0\xAF"), kReplacement + kReplacement);                     // overlong
  EXPECT_EQ(Decoded("\xED\xA0\x80"), kReplacement + kReplacement + kReplacement);  // surrogate
  EXPECT_EQ(Decoded("\xF4\x90\x80\x80"),
            kReplacement + kReplacement + kReplacement + kReplacement);  // above U+10FFFF
  EXPECT_EQ(Decoded("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"),
            kReplacement + kReplacement + kReplacement + kReplacement);
  EXPECT_EQ(Decoded("\x80z"), kReplacement + "z");
  EXPECT_EQ(Decoded("\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF"),
            "\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF");
}

TEST(TextStream, AStopStringSplitOverTokensIsNeverShown) {
  TextStream stream({"</end>"});
  EXPECT_EQ(stream.Push("one<"), "one");
  EXPECT_EQ(stream.Push("/e"), "");
  EXPECT_FALSE(stream.stopped());
  EXPECT_EQ(stream.Push("nd>two"), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.matched(), "</end>");
  EXPECT_EQ(stream.Push("three"), "");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(TextStream, TextHeldBackForAStopThatNeverComesIsReleased) {
  TextStream stream({"</end>"});
  EXPECT_EQ(stream.Push("a</en"), "a");
  EXPECT_EQ(stream.Push("x"), "</enx");
  EXPECT_EQ(stream.Push("</"), "");
  EXPECT_EQ(stream.Finish(), "</");
}

TEST(TextStream, ARepeatedBeginningDoesNotHideTheStop) {
  TextStream stream({"aab"});
  EXPECT_EQ(All(stream, {"xa", "a", "a", "b", "y"}), "xa");
  EXPECT_EQ(stream.matched(), "aab");
}

TEST(TextStream, TheMatchThatEndsFirstWinsHoweverTokensAreCut) {
  for (const std::vector<std::string>& pieces :
       {std::vector<std::string>{"xabcd"}, {"xa", "bc", "d"}, {"x", "a", "b", "c", "d"}}) {
    TextStream stream({"abcd", "bc", "abc"});
    EXPECT_EQ(All(stream, pieces), "x");
    EXPECT_EQ(stream.matched(), "abc");
  }
}

TEST(TextStream, AStopStringMayEndInASplitCharacter) {
  TextStream stream({"\xC3\xA9"});
  EXPECT_EQ(All(stream, {"caf\xC3", "\xA9 noir"}), "caf");
  EXPECT_TRUE(stream.stopped());
}

TEST(Vocabulary, TokensHaveTheirBytesAndPaddingHasNone) {
  const Vocabulary vocabulary({"a", "", "\xF0\x9F"}, {1});
  EXPECT_EQ(vocabulary.Bytes(0), "a");
  EXPECT_EQ(vocabulary.Bytes(2), "\xF0\x9F");
  EXPECT_EQ(vocabulary.Bytes(3), "");
  EXPECT_EQ(vocabulary.Bytes(-1), "");
  EXPECT_TRUE(vocabulary.IsEnd(1));
  EXPECT_FALSE(vocabulary.IsEnd(0));
}

}  // namespace
}  // namespace llmrouter
