// A domain closed by one thread in the midst of another's call.
#include "base/yield.hpp"
#include "support/catch.hpp"
#include "support/domains.hpp"

#ifdef FIRN_PLANTED_BUGS
namespace firn::tests {
namespace {
Domain* closing = nullptr;
}  // namespace

TEST_CASE("domain: a table is not created in a domain that was closed meanwhile", "[simulation]") {
  for (const DomainFactory& factory : chosen_domains()) {
    auto domain = *Domain::open(factory.path("closing"), factory.options()).wait();
    closing = &domain;
    base::yield_hook.store([](const char*) noexcept {
      base::yield_hook.store(nullptr);
      static_cast<void>(closing->close().wait());
    });
    const auto made = domain.create_table<BytesType>("late", factory.table_options()).wait();
    base::yield_hook.store(nullptr);
    REQUIRE(!made.has_value());
    CHECK(made.error().code == ErrorCode::invalid_state);
  }
}

}  // namespace firn::tests
#endif
