// Opens a domain, makes a table of plain bytes, writes, reads, scans and closes.
#include <cstdio>

#include <firn/firn.hpp>

using namespace firn::literals;

namespace {

firn::Result<void> hello() {
  FIRN_TRY_ASSIGN(auto domain, firn::Domain::open("hello", {.type = firn::DomainType::light,
                                                            .memory_budget = 64_MiB})
                                   .wait());
  FIRN_TRY_ASSIGN(auto table, domain
                                  .create_table<firn::BytesType>(
                                      "greetings", {.persistence = firn::Persistence::volatile_})
                                  .wait());
  FIRN_TRY(table.put("world", "hello").wait());
  FIRN_TRY(table.put("moon", "good night").wait());
  FIRN_TRY(table.put("sun", "good morning").wait());
  FIRN_TRY(table.erase("moon").wait());

  FIRN_TRY_ASSIGN(auto found, table.lookup("world").wait());
  std::printf("world: %s\n", found ? found->c_str() : "(nothing)");

  auto cursor = table.cursor();
  while (cursor.next().wait().value_or(false)) {
    std::printf("%s -> %s\n", std::string(cursor.key().text()).c_str(),
                std::string(cursor.record().text()).c_str());
  }
  FIRN_TRY(cursor.status());
  return domain.close().wait();
}

}  // namespace

int main() {
  if (auto done = hello(); !done.has_value()) {
    std::fprintf(stderr, "01_hello: %s\n", done.error().message().c_str());
    return 1;
  }
  return 0;
}
