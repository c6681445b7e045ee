#define CATCH_CONFIG_RUNNER
#include <filesystem>

#include "support/catch.hpp"
#include "support/domains.hpp"

namespace firn::tests {
namespace {

#if CATCH_VERSION_MAJOR < 3
using Listener = Catch::TestEventListenerBase;
#else
using Listener = Catch::EventListenerBase;
#endif

// Each test begins without the domains of the ones before.
class FreshDirectory : public Listener {
 public:
  using Listener::Listener;

  void testCaseStarting(const Catch::TestCaseInfo& test) override {
    Listener::testCaseStarting(test);
    name_ = test.name;
  }
  // The test's own section: once for each way through its inner ones.
  void sectionStarting(const Catch::SectionInfo& section) override {
    Listener::sectionStarting(section);
    if (section.name != name_) return;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(directory_of_domains(), ignored)) {
      std::filesystem::remove(entry.path(), ignored);
    }
  }

 private:
  std::string name_;
};
CATCH_REGISTER_LISTENER(FreshDirectory)

}  // namespace
}  // namespace firn::tests

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
