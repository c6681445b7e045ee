// A sack beside its model: what was stored at each address, live and dead ones.
#pragma once

#include <map>

#include "contract/conformance_types.hpp"
#include "model/history.hpp"

namespace firn::tests {

class SackModel final : public ModelTable {
 public:
  void apply(HistoryState& state, const Step& step) override;
  void scan(HistoryState& state) override;
  [[nodiscard]] std::uint64_t id() const noexcept override { return exists_ ? id_ : 0; }
  [[nodiscard]] std::uint64_t pair_count() const noexcept override { return records_.size(); }
  void let_go(bool survives) override;
  [[nodiscard]] std::string snippet(const Universe& universe, const Step& step) const override;

 private:
  struct Value {
    std::uint32_t at = 0;
    std::uint32_t size = 0;
  };

  void create(HistoryState& state);
  void open(HistoryState& state);
  void destroy(HistoryState& state, const Step& step);
  void insert(HistoryState& state, const Step& step);
  void change(HistoryState& state, const Step& step);
  void find(HistoryState& state, const Step& step);
  [[nodiscard]] std::uint16_t gone() const noexcept {
    return exists_ ? success : number_of(ErrorCode::invalid_state);
  }
  static NoteRecord record_of(const HistoryState& state, const Value& value) {
    return {std::string(state.universe.value(value.at, value.size).text()), {}};
  }

  std::optional<Table<Note>> handle_;
  std::uint64_t id_ = 0;
  bool exists_ = false;
  std::map<Address, Value> records_;
  std::array<Address, key_count> addresses_{};  // the last one given for each key
};

}  // namespace firn::tests
