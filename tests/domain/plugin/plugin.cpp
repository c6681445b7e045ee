// A plug-in that brings a table type along; the test unloads it while a table of the type is there.
#include <firn/table_type.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace {

struct PluginType : firn::TableType<std::uint64_t, std::string> {
  static constexpr std::string_view name = "test.plugin, whose name is longer than a short string";
};

}  // namespace

extern "C" __attribute__((visibility("default"))) void describe_plugin_type(
    firn::TypeDescription& out) {
  out = firn::describe<PluginType>();
}
