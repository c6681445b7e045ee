// Result<T>: a value or an Error, with the names of std::expected. Nothing in Firn throws.
#pragma once

#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <firn/assertion.hpp>
#include <firn/error.hpp>

namespace firn {
namespace detail {

struct Unit {
  friend bool operator==(Unit, Unit) = default;
};

// Storage of a value or an error. Trivially copyable for trivially copyable T: hence two versions
// instead of constrained destructors, which clang 14 rejects.
template <class T, bool = std::is_trivially_copyable_v<T>>
class ResultStorage {
 public:
  template <class... A>
  explicit constexpr ResultStorage(std::in_place_t, A&&... arguments) noexcept
      : value_(std::forward<A>(arguments)...), has_value_(true) {}
  explicit constexpr ResultStorage(const Error& error) noexcept
      : error_(error), has_value_(false) {}

 protected:
  union {
    T value_;
    Error error_;
  };
  bool has_value_;
};

template <class T>
class ResultStorage<T, false> {
 public:
  template <class... A>
  explicit ResultStorage(std::in_place_t, A&&... arguments) noexcept
      : value_(std::forward<A>(arguments)...), has_value_(true) {}
  explicit ResultStorage(const Error& error) noexcept : error_(error), has_value_(false) {}
  ResultStorage(const ResultStorage& other) : has_value_(other.has_value_) { copy_from(other); }
  ResultStorage(ResultStorage&& other) noexcept : has_value_(other.has_value_) {
    move_from(std::move(other));
  }
  ResultStorage& operator=(const ResultStorage& other) {
    if (this == &other) return *this;
    destroy();
    has_value_ = other.has_value_;
    copy_from(other);
    return *this;
  }
  ResultStorage& operator=(ResultStorage&& other) noexcept {
    if (this == &other) return *this;
    destroy();
    has_value_ = other.has_value_;
    move_from(std::move(other));
    return *this;
  }
  ~ResultStorage() { destroy(); }

 protected:
  union {
    T value_;
    Error error_;
  };
  bool has_value_;

 private:
  void destroy() noexcept {
    if (has_value_) std::destroy_at(&value_);
  }
  void copy_from(const ResultStorage& other) {
    if (has_value_) {
      ::new (static_cast<void*>(std::addressof(value_))) T(other.value_);
    } else {
      ::new (static_cast<void*>(std::addressof(error_))) Error(other.error_);
    }
  }
  void move_from(ResultStorage&& other) noexcept {
    if (has_value_) {
      ::new (static_cast<void*>(std::addressof(value_))) T(std::move(other.value_));
    } else {
      ::new (static_cast<void*>(std::addressof(error_))) Error(other.error_);
    }
  }
};

}  // namespace detail

/// Either a value or an `Error`. Looking at the wrong one is a programmer's error and asserts.
template <class T>
class [[nodiscard]] Result : private detail::ResultStorage<T> {
  using Storage = detail::ResultStorage<T>;

 public:
  using value_type = T;

  // As explicit as the value's own construction.
  template <class U = T>
  requires(std::is_constructible_v<T, U&&> && !std::is_same_v<std::remove_cvref_t<U>, Failure> &&
           !std::is_same_v<std::remove_cvref_t<U>,
                           Result>) constexpr explicit(!std::is_convertible_v<U&&, T>)
      Result(U&& value) noexcept
      : Storage(std::in_place, std::forward<U>(value)) {}
  constexpr Result(const Failure& failure) noexcept : Storage(failure.error) {}

  [[nodiscard]] constexpr bool has_value() const noexcept { return this->has_value_; }
  constexpr explicit operator bool() const noexcept { return this->has_value_; }

  [[nodiscard]] constexpr T& value() & noexcept { return checked(); }
  [[nodiscard]] constexpr const T& value() const& noexcept {
    FIRN_ASSERT(this->has_value_);
    return this->value_;
  }
  [[nodiscard]] constexpr T&& value() && noexcept { return std::move(checked()); }
  [[nodiscard]] constexpr T& operator*() & noexcept { return checked(); }
  [[nodiscard]] constexpr const T& operator*() const& noexcept { return value(); }
  [[nodiscard]] constexpr T&& operator*() && noexcept { return std::move(checked()); }
  [[nodiscard]] constexpr T* operator->() noexcept { return std::addressof(checked()); }
  [[nodiscard]] constexpr const T* operator->() const noexcept { return std::addressof(value()); }
  template <class U>
  [[nodiscard]] constexpr T value_or(U&& otherwise) const& noexcept {
    return this->has_value_ ? this->value_ : static_cast<T>(std::forward<U>(otherwise));
  }
  template <class U>
  [[nodiscard]] constexpr T value_or(U&& otherwise) && noexcept {
    return this->has_value_ ? std::move(this->value_) : static_cast<T>(std::forward<U>(otherwise));
  }
  [[nodiscard]] constexpr const Error& error() const noexcept {
    FIRN_ASSERT(!this->has_value_);
    return this->error_;
  }

 private:
  constexpr T& checked() noexcept {
    FIRN_ASSERT(this->has_value_);
    return this->value_;
  }
};

/// Success without a value, or an `Error`.
template <>
class [[nodiscard]] Result<void> : private detail::ResultStorage<detail::Unit> {
  using Storage = detail::ResultStorage<detail::Unit>;

 public:
  using value_type = void;

  constexpr Result() noexcept : Storage(std::in_place) {}
  constexpr Result(const Failure& failure) noexcept : Storage(failure.error) {}

  [[nodiscard]] constexpr bool has_value() const noexcept { return this->has_value_; }
  constexpr explicit operator bool() const noexcept { return this->has_value_; }
  constexpr void value() const noexcept { FIRN_ASSERT(this->has_value_); }
  constexpr void operator*() const noexcept { FIRN_ASSERT(this->has_value_); }
  [[nodiscard]] constexpr const Error& error() const noexcept {
    FIRN_ASSERT(!this->has_value_);
    return this->error_;
  }
};

static_assert(std::is_trivially_copyable_v<Result<int>>);
static_assert(std::is_trivially_copyable_v<Result<void>>);

}  // namespace firn

#define FIRN_DETAIL_JOIN_(a, b) a##b
#define FIRN_DETAIL_JOIN(a, b) FIRN_DETAIL_JOIN_(a, b)

/// Returns the error of `expression`, if it is one, from the function around it.
#define FIRN_TRY(expression)                                                 \
  do {                                                                       \
    if (auto&& firn_try_result = (expression); !firn_try_result.has_value()) \
      return ::firn::fail(firn_try_result.error());                          \
  } while (false)

/// Binds the value of `expression` to `declaration`, or returns its error.
#define FIRN_TRY_ASSIGN(declaration, ...) \
  FIRN_DETAIL_TRY_ASSIGN(FIRN_DETAIL_JOIN(firn_try_, __COUNTER__), declaration, __VA_ARGS__)
#define FIRN_DETAIL_TRY_ASSIGN(name, declaration, ...)      \
  auto name = (__VA_ARGS__);                                \
  if (!name.has_value()) return ::firn::fail(name.error()); \
  declaration = *std::move(name)
