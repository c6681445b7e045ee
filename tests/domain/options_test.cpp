// Options as text and from the environment.
#include "support/light.hpp"

#include <cstdlib>

using namespace firn::test;
using firn::Capability;
using firn::DomainOptions;
using firn::DomainType;

namespace {

std::string_view set_error(std::string_view name, std::string_view value) {
  DomainOptions options;
  return error_of(set_option(options, name, value));
}
std::string set_message(std::string_view name, std::string_view value) {
  DomainOptions options;
  return set_option(options, name, value).error().message();
}

// A variable of the environment for the length of a scope.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

}  // namespace

TEST_CASE("options: each can be set by its name", "[domain]") {
  DomainOptions options;
  REQUIRE(set_option(options, "type", "light"));
  REQUIRE(set_option(options, "memory_budget", "64MiB"));
  REQUIRE(set_option(options, "required", "ordered,sacks"));
  REQUIRE(options.type == DomainType::light);
  REQUIRE(options.memory_budget == 64 << 20);
  REQUIRE(options.required == (Capability::ordered | Capability::sacks));
}

TEST_CASE("options: an unknown one is invalid_argument and names the nearest", "[domain]") {
  REQUIRE(set_error("memory_bugdet", "64MiB") == "invalid_argument");
  REQUIRE(set_message("memory_bugdet", "1").find("'memory_budget'") != std::string::npos);
  REQUIRE(set_message("typ", "light").find("'type'") != std::string::npos);
  REQUIRE(set_message("requires", "").find("'required'") != std::string::npos);
  REQUIRE(set_error("", "") == "invalid_argument");
}

TEST_CASE("options: unknown values name the nearest", "[domain]") {
  REQUIRE(set_message("type", "lihgt").find("'light'") != std::string::npos);
  REQUIRE(set_message("required", "ordered,snapshot").find("'snapshots'") != std::string::npos);
  REQUIRE(set_error("required", "ordered,,sacks") == "invalid_argument");
}

TEST_CASE("options: a refused value changes nothing", "[domain]") {
  DomainOptions options{
      .type = DomainType::light, .memory_budget = 5, .required = Capability::abort};
  for (const auto* name : {"type", "memory_budget", "required", "unknown"}) {
    REQUIRE_FALSE(set_option(options, name, "ordered,nonsense"));
  }
  REQUIRE(options.type == DomainType::light);
  REQUIRE(options.memory_budget == 5);
  REQUIRE(options.required == Capability::abort);
}

TEST_CASE("options: sizes are numbers of bytes with binary units", "[domain]") {
  const auto size = [](std::string_view text) {
    DomainOptions options;
    return set_option(options, "memory_budget", text) ? options.memory_budget : 0;
  };
  CHECK(size("4096") == 4096);
  CHECK(size("3KiB") == 3072);
  CHECK(size("1 GiB") == 1u << 30);
  CHECK(size("2TiB") == std::uint64_t{2} << 40);
  CHECK(size("18446744073709551615") == ~std::uint64_t{0});
}

TEST_CASE("options: bad sizes are invalid_argument", "[domain]") {
  for (const auto* text : {"", " ", "MiB", "-1", "+1", "64MB", "64mib", "64M", "1.5GiB", "0x10",
                           "18446744073709551616", "16777216TiB", "64MiB ", "64MiB64MiB"}) {
    INFO(text);
    CHECK(set_error("memory_budget", text) == "invalid_argument");
  }
}

TEST_CASE("options: the environment sets what its variables name", "[domain]") {
  const Variable type("FIRN_TYPE", "light");
  const Variable budget("FIRN_MEMORY_BUDGET", "2MiB");
  const auto options = firn::options_from_environment({.required = Capability::sacks}).value();
  REQUIRE(options.type == DomainType::light);
  REQUIRE(options.memory_budget == 2 << 20);
  REQUIRE(options.required == Capability::sacks);
}

TEST_CASE("options: a bad variable of the environment is invalid_argument", "[domain]") {
  const Variable budget("FIRN_MEMORY_BUDGET", "lots");
  REQUIRE(error_of(firn::options_from_environment()) == "invalid_argument");
}

TEST_CASE("options: a misspelt variable of the environment is refused and names the nearest",
          "[domain]") {
  const Variable budget("FIRN_MEMORY_BUGDET", "2MiB");
  const auto options = firn::options_from_environment();
  REQUIRE(error_of(options) == "invalid_argument");
  REQUIRE(options.error().message().find("'FIRN_MEMORY_BUDGET'") != std::string::npos);
}

TEST_CASE("options: switches of the tests and what is not Firn's are left alone", "[domain]") {
  const Variable seed("FIRN_SEED", "7");
  const Variable longer("FIRN_LONG", "1");
  const Variable other("FIRNS_MEMORY_BUGDET", "2MiB");
  REQUIRE(error_of(firn::options_from_environment()) == "");
}

TEST_CASE("options: without variables the environment leaves the base alone", "[domain]") {
  const auto options =
      firn::options_from_environment({.type = DomainType::rvm, .memory_budget = 7}).value();
  REQUIRE(options.type == DomainType::rvm);
  REQUIRE(options.memory_budget == 7);
}

TEST_CASE("options: those of native domains are set by name", "[domain]") {
  DomainOptions options;
  REQUIRE(set_option(options, "background_thread", "no").has_value());
  CHECK(!options.background_thread);
  REQUIRE(set_option(options, "background_thread", "yes").has_value());
  CHECK(options.background_thread);
  CHECK(!set_option(options, "background_thread", "perhaps").has_value());
  REQUIRE(set_option(options, "checkpoint_bytes", "2GiB").has_value());
  CHECK(options.checkpoint_bytes == std::uint64_t{2} << 30);
  CHECK(!set_option(options, "checkpoint_bytes", "2 gig").has_value());
  REQUIRE(set_option(options, "checkpoint_interval", "500ms").has_value());
  CHECK(options.checkpoint_interval == std::chrono::milliseconds(500));
  REQUIRE(set_option(options, "checkpoint_interval", "5min").has_value());
  CHECK(options.checkpoint_interval == std::chrono::minutes(5));
  for (const char* wrong : {"", "5", "s", "5h", "99999999999999999999s", "99999999999999min"}) {
    CHECK(!set_option(options, "checkpoint_interval", wrong).has_value());
  }
  CHECK(options.checkpoint_interval == std::chrono::minutes(5));
}
