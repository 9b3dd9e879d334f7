// Runs Pace on simulated machines and compares its steps with the best number of threads. Prints
// one line per machine: its name, and the mean time per step relative to the best, after a learning
// phase.
#include "threads/pace.hpp"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <random>

using namespace fusedstep;

namespace {

std::mt19937_64 random_bits(1);
double uniform() { return double(random_bits() >> 11) / double(std::uint64_t{1} << 53); }

using Machine = std::function<double(int threads)>;  // seconds per step

// Mean over the steps after the first tenth of `seconds`.
double mean_step(const Machine& machine, int limit, double seconds) {
  constexpr std::size_t kBytes = 1 << 20;
  Pace pace(limit, false);
  double all = 0.0, late = 0.0, steps = 0.0;
  while (all < seconds) {
    const Threads threads = pace.threads();
    const double time = machine(threads.count);
    pace.record(threads, kBytes, time);
    all += time;
    if (all > 0.1 * seconds) {
      late += time;
      ++steps;
    }
  }
  return late / steps;
}

double expected(const Machine& machine, int threads) {
  double sum = 0.0;
  for (int i = 0; i < 20000; ++i) sum += machine(threads);
  return sum / 20000;
}

void report(const char* name, const Machine& machine, int limit, double seconds) {
  double best = expected(machine, 1);
  for (int threads = limit; threads > 1; threads /= 2)
    best = std::min(best, expected(machine, threads));
  std::printf("%s %.3f\n", name, mean_step(machine, limit, seconds) / best);
}

double noisy(double seconds) { return seconds * (0.95 + 0.1 * uniform()); }
double stalled(double seconds, double stall, double chance) {
  return noisy(seconds) + (uniform() < chance ? stall : 0.0);
}

}  // namespace

int main() {
  const double us = 1e-6, ms = 1e-3;
  report("idle", [=](int n) { return noisy(34 * us / n); }, 2, 1.0);
  report("idle, hiccups", [=](int n) { return stalled(34 * us / n, 1 * ms, 2e-4 * n); }, 2, 4.0);
  report("always stalled", [=](int n) { return n == 1 ? noisy(80 * us) : noisy(4 * ms); }, 2, 10.0);
  report(
      "often stalled", [=](int n) { return stalled(80 * us / n, n == 1 ? 0 : 4 * ms, 0.1); }, 2,
      20.0);
  report(
      "seldom stalled", [=](int n) { return stalled(80 * us / n, n == 1 ? 0 : 4 * ms, 0.001); }, 2,
      20.0);
  report(
      "all stalled", [=](int n) { return stalled(120 * us / n, 4 * ms, n == 1 ? 0.01 : 0.03); }, 2,
      20.0);
  report(
      "busy beside",
      [=](int n) { return stalled(n == 1 ? 120 * us : 90 * us, 4 * ms, n == 1 ? 0.01 : 0.02); }, 2,
      20.0);
  report("one is enough", [=](int n) { return noisy(n == 1 ? 5.9 * ms : 7.6 * ms); }, 2, 20.0);
  report("memory", [=](int n) { return noisy(n == 1 ? 5.9 * ms : 5.3 * ms); }, 2, 20.0);
  report("many cores", [=](int n) { return noisy(64 * ms / n); }, 64, 60.0);
  report(
      "many, memory", [=](int n) { return noisy(64 * ms / std::min(n, 8) + n * 20 * us); }, 64,
      60.0);
  report(
      "many, one busy", [=](int n) { return noisy(64 * ms / n) + (n > 32 ? 4 * ms : 0); }, 64,
      60.0);
  int steps = 0;  // other programs come and go
  const Machine changing = [=](int n) mutable {
    const bool busy = steps++ / 50000 % 2 == 1;
    return busy && n > 1 ? noisy(4 * ms) : noisy(80 * us / n);
  };
  std::printf("changing %.3f\n", mean_step(changing, 2, 60.0) / (60 * us));
}
