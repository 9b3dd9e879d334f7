// Cuts random lists of tensors and counts: every element (or row) of every tensor must be in
// exactly one piece, so that each stream is read once and written once, and no cache line in two
// threads' but where a row must not be cut.
#include "plan.hpp"

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

bool check(const std::vector<Plan::Tensor>& tensors, int limit, bool rows) {
  Plan plan;
  plan.build(tensors, limit);
  if (plan.threads() < 1 || plan.threads() > limit) return fail("more threads than allowed", 0);
  std::vector<std::size_t> done(tensors.size(), 0);  // elements dealt so far, in order
  std::vector<std::uintptr_t> last(tensors.size(), 0);
  std::size_t fewest = SIZE_MAX, most = 0;
  for (int thread = 0; thread < plan.threads(); ++thread) {
    std::size_t lines = 0;
    for (const Piece* p = plan.begin(thread); p != plan.end(thread); ++p) {
      const Plan::Tensor& t = tensors[p->tensor];
      const auto address = reinterpret_cast<std::uintptr_t>(t.param.address);
      if (p->begin != done[p->tensor]) return fail("an element twice or never", p->tensor);
      if (p->begin >= p->end) return fail("a piece of nothing", p->tensor);
      const std::uintptr_t first = (address + p->begin * t.item_size) / kLine;
      if (!rows && p->begin != 0 && first == last[p->tensor])
        return fail("a line in two pieces", p->tensor);
      done[p->tensor] = p->end;
      last[p->tensor] = (address + p->end * t.item_size - 1) / kLine;
      lines += last[p->tensor] - first + 1;
    }
    fewest = lines < fewest ? lines : fewest;
    most = lines > most ? lines : most;
  }
  if (!rows && most - fewest > 1 && plan.threads() > 1) return fail("threads share unevenly", 0);
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (done[i] * tensors[i].item_size != tensors[i].param.bytes)
      return fail("elements are missing", i);
  return true;
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
      // Never touched: a plan is about addresses.
      const std::uintptr_t address = (std::uintptr_t{1} << 40) + below(1024) * t.item_size;
      t.param = {reinterpret_cast<void*>(address), size * t.item_size};
      t.streams = 2 + below(4);
    }
    if (!check(tensors, int(1 + below(9)), rows)) return 1;
  }
  std::printf("%zu lists\n", lists);
}
