// Concurrent callers with jobs of random shape on the real pool, under ThreadSanitizer and time
// limits. Every unit must be done once; neighbouring parts write to adjacent memory.
#include <cstdio>
#include <random>
#include <thread>
#include <vector>

#include "threads/pool.hpp"

using namespace fusedstep;

namespace {

void body(void* context, std::size_t first, std::size_t last) {
  int* const done = static_cast<int*>(context);
  for (std::size_t i = first; i < last; ++i) ++done[i];
}

bool call(Pool& pool, unsigned seed) {
  std::mt19937 random(seed);
  for (int k = 0; k < 2000; ++k) {
    const std::size_t units = 1 + random() % 100;
    std::vector<int> done(units, 0);  // freed when the job is over
    const int threads = 1 + int(random() % 6), limit = threads + int(random() % 3);
    pool.run({units, 0, body, done.data(), random() % 2 == 0}, 1 + random() % 9, threads, limit);
    for (const int times : done)
      if (times != 1) return false;
    if (random() % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

}  // namespace

int main() {
  auto& pool = *new Pool;  // never destroyed, as in the library
  std::vector<std::thread> callers;
  std::vector<char> right(3, 0);
  for (unsigned i = 0; i < 3; ++i)
    callers.emplace_back([&pool, &right, i] { right[i] = call(pool, i); });
  for (std::thread& caller : callers) caller.join();
  for (const char each : right)
    if (each == 0) return 1;
  std::puts("6000 jobs");
}
