// The text of errors: made here, when somebody prints one.
#include <firn/error.hpp>

#include <cstring>
#include <string>

#include <fmt/format.h>

namespace firn {
namespace {

struct CodeText {
  ErrorCode code;
  const char* name;
  const char* next_step;
};

constexpr CodeText code_texts[] = {
    {ErrorCode::invalid_argument, "invalid_argument", "mend the argument and call again"},
    {ErrorCode::too_large, "too_large", "make it smaller"},
    {ErrorCode::unsupported, "unsupported", "choose a domain type that has the capability"},
    {ErrorCode::unsupported_format, "unsupported_format", "open it with a newer Firn"},
    {ErrorCode::wrong_type, "wrong_type", "open the table with the type it was created with"},
    {ErrorCode::wrong_domain, "wrong_domain", "use handles of one domain together"},
    {ErrorCode::invalid_state, "invalid_state", "make a new handle or operation"},
    {ErrorCode::already_exists, "already_exists", "choose another name or key, or open that one"},
    {ErrorCode::not_found, "not_found", "check the key or name, or create it first"},
    {ErrorCode::conflict, "conflict", "begin the transaction again"},
    {ErrorCode::busy, "busy", "release the object elsewhere, then call again"},
    {ErrorCode::no_space, "no_space", "grow or add a segment, or erase something"},
    {ErrorCode::no_memory, "no_memory", "raise the memory budget, or erase something"},
    {ErrorCode::timed_out, "timed_out", "call again with a later deadline"},
    {ErrorCode::cancelled, "cancelled", "nothing: the caller asked for it"},
    {ErrorCode::io_error, "io_error", "look at the device; firn check lists what is damaged"},
    {ErrorCode::corrupt, "corrupt", "list the damaged places with firn check"},
    {ErrorCode::wrong_key, "wrong_key", "open with the key the domain was written with"},
    {ErrorCode::failed, "failed", "close and reopen the domain: it recovers the durable state"},
    {ErrorCode::fenced, "fenced", "reopen the domain if this process is to own it again"},
};

const CodeText* find(ErrorCode code) noexcept {
  for (const CodeText& text : code_texts) {
    if (text.code == code) return &text;
  }
  return nullptr;
}

void replace(std::string& text, std::string_view placeholder, std::string_view by) {
  const std::size_t at = text.find(placeholder);
  if (at != std::string::npos) text.replace(at, placeholder.size(), by);
}

}  // namespace

std::string_view name_of(ErrorCode code) noexcept {
  const CodeText* text = find(code);
  return text == nullptr ? "unknown" : text->name;
}

std::string_view next_step_for(ErrorCode code) noexcept {
  const CodeText* text = find(code);
  return text == nullptr ? "" : text->next_step;
}

std::string Error::message() const {
  std::string text(name_of(code));
  if (place.segment != static_cast<std::uint32_t>(Place::none)) {
    text += fmt::format(": segment {}", place.segment);
  }
  if (place.page != Place::none) text += fmt::format(": page {}", place.page);
  if (place.table != Place::none) text += fmt::format(": table {}", place.table);
  if (detail != nullptr) {
    std::string filled = detail;
    replace(filled, "{s}", subject == nullptr ? "" : subject);
    replace(filled, "{}", std::to_string(value));
    text += ": " + filled;
  }
  if (system_error != 0) text += fmt::format(": {}", std::strerror(system_error));
  text += fmt::format("; next: {}", next_step_for(code));
  return text;
}

}  // namespace firn
