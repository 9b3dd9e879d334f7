// Cuts random lists of tensors at random places and checks that every element (or row) is in
// exactly one piece, so that each stream is read and written once, and that no cache line is in two
// pieces, except where a row must stay whole.
#include "engine/plan.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

using namespace fusedstep;

namespace {

constexpr std::uintptr_t kLine = 64;

bool fail(const char* what, std::size_t tensor) {
  std::printf("tensor %zu: %s\n", tensor, what);
  return false;
}

// `cuts`: ascending line numbers, including both ends.
bool check(const std::vector<Plan::Tensor>& tensors, const Plan& plan,
           const std::vector<std::size_t>& cuts, bool rows) {
  std::vector<std::size_t> done(tensors.size(), 0);  // elements seen so far, in order
  std::vector<std::uintptr_t> last(tensors.size(), 0);
  bool right = true;
  for (std::size_t part = 0; part + 1 < cuts.size(); ++part) {
    std::size_t lines = 0;
    plan.visit(cuts[part], cuts[part + 1], [&](std::size_t i, std::size_t begin, std::size_t end) {
      const Plan::Tensor& t = tensors[i];
      const auto address = reinterpret_cast<std::uintptr_t>(t.param.address);
      if (begin != done[i]) right = fail("an element twice or never", i);
      if (begin >= end) right = fail("a piece of nothing", i);
      const std::uintptr_t first = (address + begin * t.item_size) / kLine;
      if (!rows && begin != 0 && first == last[i]) right = fail("a line in two pieces", i);
      done[i] = end;
      last[i] = (address + end * t.item_size - 1) / kLine;
      lines += last[i] - first + 1;
    });
    if (!rows && lines != cuts[part + 1] - cuts[part]) right = fail("more or less than asked", 0);
  }
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (done[i] * tensors[i].item_size != tensors[i].param.bytes)
      right = fail("elements are missing", i);
  return right;
}

}  // namespace

int main() {
  std::mt19937_64 random(1);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  std::size_t lists = 0;
  for (; lists < 20000; ++lists) {
    std::vector<Plan::Tensor> tensors(below(12));
    const bool rows = below(4) == 0;
    for (Plan::Tensor& t : tensors) {
      t.item_size = (below(2) == 0 ? 4 : 8) * (rows ? 1 + below(std::size_t{1} << below(16)) : 1);
      const std::size_t size = below(4) == 0 ? 0 : below(std::size_t{1} << below(22)) + 1;
      // Never dereferenced: a plan only uses addresses.
      const std::uintptr_t address = (std::uintptr_t{1} << 40) + below(1024) * t.item_size;
      t.param = {reinterpret_cast<void*>(address), size * t.item_size};
      t.bytes = t.param.bytes * (2 + below(4));
    }
    Plan plan;
    plan.build(tensors);
    std::vector<std::size_t> cuts{0, plan.lines()};
    for (std::size_t k = below(9); k > 0; --k) cuts.push_back(below(plan.lines() + 1));
    std::sort(cuts.begin(), cuts.end());
    if (!check(tensors, plan, cuts, rows)) return 1;
  }
  std::printf("%zu lists\n", lists);
}
