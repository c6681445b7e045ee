#include "segment/sector_image.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include <firn/assertion.hpp>

#include "base/random.hpp"

namespace firn::segment {
namespace {

constexpr std::uint64_t odd = 0x9e3779b97f4a7c15u;

}  // namespace

std::uint64_t hash_of_sector(const std::byte* sector) noexcept {
  // Four lanes, so that the multiplications overlap.
  std::uint64_t lanes[4] = {1, 2, 3, 4};
  std::uint64_t any = 0;
  for (std::size_t at = 0; at < sector_bytes; at += sizeof lanes) {
    std::uint64_t words[4];
    std::memcpy(words, sector + at, sizeof words);
    for (unsigned lane = 0; lane < 4; ++lane) {
      any |= words[lane];
      lanes[lane] = (lanes[lane] ^ words[lane]) * odd;
      lanes[lane] ^= lanes[lane] >> 29;
    }
  }
  if (any == 0) return 0;
  std::uint64_t hash = 0;
  for (const std::uint64_t lane : lanes) hash = base::Random::mix(hash ^ lane) + odd;
  return hash == 0 ? 1 : hash;
}

std::uint64_t hash_term(std::uint64_t sector, std::uint64_t hash) noexcept {
  return hash == 0 ? 0 : base::Random::mix(hash ^ base::Random::mix(sector + odd));
}

Payload::Payload(std::vector<std::byte> data) : bytes(std::move(data)) {
  FIRN_ASSERT(bytes.size() % sector_bytes == 0);
  hashes.resize(bytes.size() / sector_bytes);
  for (std::size_t index = 0; index < hashes.size(); ++index) {
    hashes[index] = hash_of_sector(sector(index));
  }
}

SectorImage::Block& SectorImage::own(std::uint64_t block) {
  const std::uint64_t at = block / group_blocks;
  if (at >= groups_.size()) groups_.resize(at + 1);
  std::shared_ptr<Group>& group = groups_[at];
  if (group == nullptr) {
    group = std::make_shared<Group>();
  } else if (group.use_count() > 1) {
    group = std::make_shared<Group>(*group);
  }
  std::shared_ptr<Block>& place = (*group)[block % group_blocks];
  if (place == nullptr) {
    place = std::make_shared<Block>();
    place->bytes.fill(std::byte{0});
    ++block_count_;
  } else if (place.use_count() > 1) {
    place = std::make_shared<Block>(*place);
  }
  return *place;
}

void SectorImage::drop(std::uint64_t block) {
  if (find(block) == nullptr) return;
  std::shared_ptr<Group>& group = groups_[block / group_blocks];
  if (group.use_count() > 1) group = std::make_shared<Group>(*group);
  (*group)[block % group_blocks] = nullptr;
  --block_count_;
}

void SectorImage::write_sector(std::uint64_t sector, const std::byte* bytes, std::uint64_t hash) {
  Block& block = own(sector / block_sectors);
  const std::size_t within = sector % block_sectors;
  sum_ += hash_term(sector, hash) - hash_term(sector, block.hashes[within]);
  block.hashes[within] = hash;
  std::memcpy(block.bytes.data() + within * sector_bytes, bytes, sector_bytes);
}

void SectorImage::zero_sector(std::uint64_t sector) {
  if (sector_hash(sector) == 0) return;
  static constexpr std::array<std::byte, sector_bytes> zeroes{};
  write_sector(sector, zeroes.data(), 0);
  const auto& hashes = find(sector / block_sectors)->hashes;
  if (std::all_of(hashes.begin(), hashes.end(), [](std::uint64_t hash) { return hash == 0; })) {
    drop(sector / block_sectors);
  }
}

void SectorImage::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  FIRN_ASSERT(offset % sector_bytes == 0 && bytes.size() % sector_bytes == 0);
  for (std::size_t at = 0; at < bytes.size(); at += sector_bytes) {
    const std::byte* sector = bytes.data() + at;
    write_sector((offset + at) / sector_bytes, sector, hash_of_sector(sector));
  }
}

void SectorImage::flip_bit(std::uint64_t offset, unsigned bit) {
  std::array<std::byte, sector_bytes> sector;
  read(offset / sector_bytes * sector_bytes, sector);
  sector[offset % sector_bytes] ^= std::byte{1} << (bit % 8);
  write(offset / sector_bytes * sector_bytes, sector);
}

void SectorImage::resize(std::uint64_t size_bytes) {
  const bool smaller = size_bytes < size_;
  size_ = size_bytes;
  if (smaller) cut_to_size();
}

void SectorImage::cut_to_size() {
  const std::uint64_t end = groups_.size() * group_blocks * block_sectors;
  for (std::uint64_t sector = (size_ + sector_bytes - 1) / sector_bytes; sector < end; ++sector) {
    zero_sector(sector);
  }
}

void SectorImage::read(std::uint64_t offset, std::span<std::byte> into) const noexcept {
  while (!into.empty()) {
    const std::size_t within = offset % block_bytes;
    const std::size_t count = std::min(into.size(), block_bytes - within);
    const Block* block = find(offset / block_bytes);
    if (block == nullptr) {
      std::memset(into.data(), 0, count);
    } else {
      std::memcpy(into.data(), block->bytes.data() + within, count);
    }
    offset += count;
    into = into.subspan(count);
  }
}

}  // namespace firn::segment
