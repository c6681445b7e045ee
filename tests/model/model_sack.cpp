#include "model/model_sack.hpp"

namespace firn::tests {

void SackModel::apply(HistoryState& state, const Step& step) {
  switch (step.act) {
    case Act::create_table:
      return create(state);
    case Act::open_table:
      return open(state);
    case Act::destroy_table:
      return destroy(state, step);
    case Act::scan:
      return scan(state);
    case Act::put:
    case Act::insert:
      return insert(state, step);
    case Act::update:
    case Act::erase:
    case Act::erase_present:
      return change(state, step);
    case Act::lookup:
    case Act::read:
    case Act::follow:
      return find(state, step);
    default:
      return;
  }
}

void SackModel::create(HistoryState& state) {
  auto made = state.runner.run(
      [&] { return state.domain.create_table<Note>("sack", state.factory.table_options()); });
  const std::uint16_t expected = exists_ ? number_of(ErrorCode::already_exists) : success;
  if (!state.same_outcome("create_table", made, expected)) return;
  handle_.emplace(std::move(*made));
  if (handle_->id() <= id_) state.differs("create_table: a number that was used before");
  id_ = handle_->id();
  exists_ = true;
  addresses_.fill(Address());
  state.note_table = id_;
}

void SackModel::open(HistoryState& state) {
  auto opened = state.runner.run([&] { return state.domain.open_table<Note>("sack"); });
  const std::uint16_t expected = exists_ ? success : number_of(ErrorCode::not_found);
  if (!state.same_outcome("open_table", opened, expected)) return;
  if (opened->id() != id_) state.differs("open_table: another number");
  handle_ = std::move(*opened);
}

void SackModel::destroy(HistoryState& state, const Step& step) {
  if (!handle_.has_value()) return;
  const bool force = step.flag % 2 == 1;
  std::uint16_t expected = gone();
  const bool referenced = id_ == state.referenced_table;
  if (expected == success && !force && referenced) expected = number_of(ErrorCode::busy);
  Table<Note> given = std::move(*handle_);
  handle_.reset();
  if (force) handle_ = given;
  auto destroyed = state.runner.run(
      [&] { return state.domain.destroy_table(std::move(given), force ? Force::yes : Force::no); });
  if (!state.same_outcome("destroy_table", destroyed, expected)) return;
  exists_ = false;
  records_.clear();
  state.note_table = 0;
}

// Into a place that is taken this is an update: what a step means may depend on what is there, so
// that steps can be left out.
void SackModel::insert(HistoryState& state, const Step& step) {
  if (!handle_.has_value()) return;
  if (records_.contains(addresses_[step.key])) return change(state, step);
  const Value value{step.value_at, step.value_size};
  const bool in = step.flag % 8 >= 4 && state.transaction.has_value();
  auto inserted = state.runner.run([&]() -> SackInsertOperation<Note> {
    if (in) return handle_->insert(*state.transaction, record_of(state, value));
    return handle_->insert(record_of(state, value));
  });
  if (!state.same_outcome("sack insert", inserted, gone())) return;
  if (inserted->is_null()) state.differs("sack insert: the null address");
  if (records_.contains(*inserted)) state.differs("sack insert: an address in use");
  for (const Address& dead : addresses_) {
    if (dead == *inserted) state.differs("sack insert: a dead address again");
  }
  state.record(inserted->number);
  addresses_[step.key] = *inserted;
  records_[*inserted] = value;
}

void SackModel::change(HistoryState& state, const Step& step) {
  if (!handle_.has_value()) return;
  const Address address = addresses_[step.key];
  const auto found = records_.find(address);
  const bool erases = step.act == Act::erase || step.act == Act::erase_present;
  std::uint16_t expected = gone();
  if (expected == success && found == records_.end() && step.act != Act::erase) {
    expected = number_of(ErrorCode::not_found);
  }
  const Value value{step.value_at, step.value_size};
  auto changed = state.runner.run([&]() -> WriteOperation<Note> {
    if (!erases) return handle_->update(address, record_of(state, value));
    return handle_->erase(address, step.act == Act::erase_present ? Expect::present : Expect::any);
  });
  if (!state.same_outcome("sack change", changed, expected)) return;
  if (found == records_.end()) return;
  if (erases) {
    records_.erase(found);
  } else {
    found->second = value;
  }
}

void SackModel::find(HistoryState& state, const Step& step) {
  const Address address = addresses_[step.key];
  const auto compare = [&](const std::optional<NoteRecord>& found) {
    const auto expected = records_.find(address);
    state.record(found.has_value() ? 2 + found->text.size() : 1);
    if (found.has_value() != (expected != records_.end())) {
      state.differs("sack: found or not");
    } else if (found.has_value() && found->text != record_of(state, expected->second).text) {
      state.differs("sack: another record");
    }
  };
  if (step.act == Act::follow) {
    if (id_ == 0 || address.is_null()) return;
    auto found =
        state.runner.run([&] { return state.domain.follow(*Ref<Note>::make(id_, address)); });
    const std::uint16_t expected = exists_ ? success : number_of(ErrorCode::not_found);
    if (state.same_outcome("follow", found, expected)) compare(*found);
  } else if (handle_.has_value()) {
    auto found = state.runner.run([&] { return handle_->lookup(address); });
    if (state.same_outcome("sack lookup", found, gone())) compare(*found);
  }
}

void SackModel::scan(HistoryState& state) {
  if (!handle_.has_value() || !exists_) return;
  const auto at = [&](const Cursor<Note>& cursor, const auto& expected) {
    if (cursor.key() != expected.first) state.differs("sack scan: another address");
    if (cursor.record().text != record_of(state, expected.second).text) {
      state.differs("sack scan: another record");
    }
  };
  for (const bool forward : {true, false}) {
    auto cursor = handle_->cursor();
    const auto step = [&] {
      auto moved = state.runner.run([&] { return forward ? cursor.next() : cursor.prev(); });
      return state.same_outcome("sack move", moved, success) && *moved;
    };
    std::size_t count = 0;
    auto up = records_.begin();
    auto down = records_.rbegin();
    while (state.failure.empty() && step()) {
      if (++count > records_.size()) return state.differs("sack scan: too many pairs");
      forward ? at(cursor, *up++) : at(cursor, *down++);
    }
    if (count != records_.size()) state.differs("sack scan: too few pairs");
  }
}

void SackModel::let_go(bool survives) {
  handle_.reset();
  if (survives) return;
  exists_ = false;
  records_.clear();
  addresses_.fill(Address());
}

std::string SackModel::snippet(const Universe&, const Step& step) const {
  const std::string place = "address[" + std::to_string(step.key) + "]";
  const std::string record = "{std::string(" + std::to_string(step.value_size) + ", 'v'), {}}";
  switch (step.act) {
    case Act::create_table:
      return "auto sack = *domain.create_table<Note>(\"sack\", options).wait();";
    case Act::open_table:
      return "sack = *domain.open_table<Note>(\"sack\").wait();";
    case Act::destroy_table:
      return std::string("domain.destroy_table(std::move(sack), Force::") +
             (step.flag % 2 == 1 ? "yes" : "no") + ").wait();";
    case Act::put:
    case Act::insert:
      return place + " = *sack.insert(" + record + ").wait();";
    case Act::update:
      return "sack.update(" + place + ", " + record + ").wait();";
    case Act::erase:
    case Act::erase_present:
      return "sack.erase(" + place + ").wait();";
    case Act::lookup:
    case Act::read:
      return "sack.lookup(" + place + ").wait();";
    case Act::follow:
      return "domain.follow(sack.ref(" + place + ")).wait();";
    case Act::scan:
      return "// all pairs of the sack, both ways";
    default:
      return "";
  }
}

}  // namespace firn::tests
