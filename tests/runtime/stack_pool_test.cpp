#include "runtime/stack_pool.hpp"

#include <cstdint>
#include <vector>

#include <unistd.h>

#include "support/catch.hpp"

using firn::ErrorCode;
using firn::Result;
using firn::runtime::Stack;
using firn::runtime::StackPool;

TEST_CASE("stack pool: stacks are whole pages and writable to the last byte", "[fiber]") {
  StackPool pool(StackPool::Options{.stack_size_bytes = 10'000});
  const Result<Stack> stack = pool.acquire();
  REQUIRE(stack);
  REQUIRE(stack->size_bytes >= 10'000);
  REQUIRE(stack->size_bytes % static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) == 0);
  *stack->bottom = std::byte{1};
  *(stack->top() - 1) = std::byte{2};
  pool.release(*stack);
}

TEST_CASE("stack pool: the limit is an error and changes nothing", "[fiber]") {
  StackPool pool(StackPool::Options{.stack_count_max = 2});
  const Result<Stack> first = pool.acquire();
  const Result<Stack> second = pool.acquire();
  REQUIRE(first);
  REQUIRE(second);
  REQUIRE(pool.acquire().error().code == ErrorCode::no_memory);
  REQUIRE(pool.in_use_count() == 2);
  pool.release(*first);
  const Result<Stack> third = pool.acquire();
  REQUIRE(third);
  REQUIRE(third->bottom == first->bottom);
  pool.release(*second);
  pool.release(*third);
}

TEST_CASE("stack pool: a refused mapping is an error", "[fiber]") {
  StackPool pool(StackPool::Options{.stack_size_bytes = std::size_t{1} << 60});
  const Result<Stack> stack = pool.acquire();
  REQUIRE(!stack);
  REQUIRE(stack.error().code == ErrorCode::no_memory);
  REQUIRE(stack.error().system_error != 0);
  REQUIRE(pool.in_use_count() == 0);
}

TEST_CASE("stack pool: keeps no more idle stacks than allowed", "[fiber]") {
  StackPool pool(StackPool::Options{.idle_count_max = 2});
  std::vector<Stack> stacks;
  for (int i = 0; i < 5; ++i) {
    const Result<Stack> stack = pool.acquire();
    REQUIRE(stack);
    stacks.push_back(*stack);
  }
  for (const Stack& stack : stacks) pool.release(stack);
  REQUIRE(pool.idle_count() == 2);
  REQUIRE(pool.mapped_count() == 5);
  const Result<Stack> recycled = pool.acquire();
  REQUIRE(recycled);
  REQUIRE(pool.mapped_count() == 5);
  pool.release(*recycled);
}
