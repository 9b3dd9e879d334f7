// Ranges of memory against all pairs of them: which overlap, and where buffers are put.
#include "engine/memory.hpp"

#include <fuzzer/FuzzedDataProvider.h>

#include <new>
#include <set>

#include "engine/overlap.hpp"
#include "require.hpp"

using namespace fusedstep;

namespace {

bool overlap(const Range& a, const Range& b) { return a.begin < b.end && b.begin < a.end; }

Extent take_extent(FuzzedDataProvider& data, std::size_t least) {
  // Addresses are never followed.
  const auto address = data.ConsumeIntegralInRange<std::uintptr_t>(1, 300);
  return {reinterpret_cast<const void*>(address),
          data.ConsumeIntegralInRange<std::size_t>(least, 12)};
}

void ranges(FuzzedDataProvider& data) {
  Occupied occupied;
  std::vector<Range> present;
  for (std::size_t id = 0; data.remaining_bytes() > 0 && id < 200;) {
    const Extent asked = take_extent(data, 0);
    const Range* const found = occupied.find(asked);
    const Range wanted(asked, 0);
    const bool meets = asked.bytes != 0 && std::any_of(present.begin(), present.end(),
                                                       [&](auto& r) { return overlap(r, wanted); });
    REQUIRE((found != nullptr) == meets);
    if (found != nullptr) REQUIRE(overlap(*found, wanted));

    std::vector<Range> batch;
    for (auto left = data.ConsumeIntegralInRange(0, 6); left > 0; --left)
      batch.emplace_back(take_extent(data, 1), id++);
    std::set<std::pair<std::size_t, std::size_t>> pairs;
    for (const Range& a : batch)
      for (const Range& b : batch)
        if (a.owner > b.owner && overlap(a, b)) pairs.emplace(a.owner, b.owner);
    const auto two = sort_by_address(batch);
    REQUIRE(two.has_value() == !pairs.empty());
    if (two) REQUIRE(pairs.count(*two) == 1);
    const bool is_free = std::none_of(batch.begin(), batch.end(), [&](const Range& range) {
      return occupied.find({reinterpret_cast<const void*>(range.begin), range.end - range.begin});
    });
    if (two || !is_free || batch.empty()) continue;
    present.insert(present.end(), batch.begin(), batch.end());
    occupied.add(occupied.prepare(std::move(batch)));
  }
}

std::size_t take_bytes(FuzzedDataProvider& data) {
  switch (data.ConsumeIntegralInRange(0, 9)) {
    case 0:
      return 0;
    case 1:
      return SIZE_MAX - data.ConsumeIntegralInRange<std::size_t>(0, 1 << 14);  // memory runs out
    default:
      return data.ConsumeIntegralInRange<std::size_t>(0, 1 << data.ConsumeIntegralInRange(0, 23));
  }
}

void buffers(FuzzedDataProvider& data) {
  std::vector<BufferRequest> requests(data.ConsumeIntegralInRange<std::size_t>(0, 4));
  std::vector<std::size_t> sizes;
  for (BufferRequest& request : requests) {
    request.array =
        reinterpret_cast<const void*>(data.ConsumeIntegralInRange<std::uintptr_t>(0, 1 << 14));
    request.item = data.PickValueInArray<std::size_t>({1, 2, 4, 8});
    request.buffers.resize(data.ConsumeIntegralInRange<std::size_t>(0, 4));
    for (auto& [bytes, item] : request.buffers) {
      bytes = take_bytes(data);
      item = data.PickValueInArray<std::size_t>({0, 1, 2, 4, 8});
      sizes.push_back(bytes);
    }
  }
  try {
    const Buffers made = allocate_in_phase(requests);
    REQUIRE(made.address.size() == sizes.size());
    const std::byte* end = made.arena->data();
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      std::byte* const first = made.address[i];
      REQUIRE(first >= end);  // apart from what came before
      end = first + sizes[i];
      if (sizes[i] != 0) first[0] = first[sizes[i] - 1] = std::byte{1};
    }
    REQUIRE(end <= made.arena->data() + made.arena->size());
  } catch (const std::bad_alloc&) {
    REQUIRE(std::any_of(sizes.begin(), sizes.end(), [](auto n) { return n > SIZE_MAX / 2; }));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  FuzzedDataProvider data(bytes, size);
  data.ConsumeBool() ? ranges(data) : buffers(data);
  return 0;
}
