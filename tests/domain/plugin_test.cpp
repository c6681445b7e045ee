// Table types from plug-ins, which may be unloaded.
#include "support/light.hpp"

#include <dlfcn.h>

using namespace firn::test;

namespace {

void (*describe_into)(firn::TypeDescription& out) = nullptr;
firn::TypeDescription described() {
  firn::TypeDescription type;
  describe_into(type);
  return type;
}

// Creates a table of whatever type is described.
class CreateOperation final : public firn::Operation<bool> {
 public:
  explicit CreateOperation(firn::Domain& domain) noexcept : domain_(domain) {}

 private:
  firn::detail::Progress step() noexcept override {
    return firn::detail::create_table(*this, error_, *domain_.core(), "table", &described,
                                      volatile_table(), table_);
  }
  void settle(firn::detail::Progress progress) noexcept override {
    if (progress == firn::detail::Progress::failed) return settle_with(firn::fail(error_));
    settle_with(true);
  }
  firn::Domain& domain_;
  firn::detail::Reference<firn::detail::TableCore> table_;
};

}  // namespace

TEST_CASE("plug-in: unloading it leaves the catalogue whole", "[domain]") {
  firn::Domain domain = open_light();
  void* const plugin = ::dlopen(FIRN_TEST_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  REQUIRE(plugin != nullptr);
  describe_into =
      reinterpret_cast<void (*)(firn::TypeDescription&)>(::dlsym(plugin, "describe_plugin_type"));
  REQUIRE(describe_into != nullptr);
  REQUIRE(error_of(CreateOperation(domain).wait()) == "");
  const auto before = domain.tables().wait().value();
  REQUIRE(::dlclose(plugin) == 0);
  REQUIRE(::dlopen(FIRN_TEST_PLUGIN, RTLD_NOW | RTLD_NOLOAD) == nullptr);  // it is gone
  const auto after = domain.tables().wait().value();
  CHECK(after.front().type == "test.plugin, whose name is longer than a short string");
  CHECK(after.front().type == before.front().type);
  CHECK(after.front().comparator == "firn.bytewise");
  CHECK(error_of(domain.open_table<WordType>("table").wait()) == "wrong_type");
}
