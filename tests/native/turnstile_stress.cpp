// Callers of both kinds at one turnstile, under ThreadSanitizer: what they count inside, without an
// atomic, is theirs alone. Calls that are no steps all get their turn; steps may be refused.
#include <cstdio>
#include <thread>
#include <vector>

#include "threads/turnstile.hpp"

using namespace fusedstep;
using Call = Turnstile::Call;
using Answer = Turnstile::Answer;

namespace {

constexpr int kCalls = 3000;

struct Shared {
  Turnstile turnstile;
  long inside = 0;  // how many calls there were
};

Answer enter(Turnstile& turnstile, Call call) {
  const Answer answer = turnstile.enter(call);
  if (answer != Answer::wait) return answer;
  Turnstile::Place place(turnstile, call);
  for (;;) {
    const Answer later = place.wait(std::chrono::milliseconds(50));
    if (later != Answer::wait) return later;
  }
}

// How many of its calls came in.
void work(Shared& shared, Call call, long& entered) {
  for (int k = 0; k < kCalls; ++k) {
    if (enter(shared.turnstile, call) != Answer::entered) continue;
    ++entered;
    ++shared.inside;
    shared.turnstile.leave();
  }
}

}  // namespace

int main() {
  Shared shared;
  const std::vector<Call> calls{Call::step, Call::other, Call::step, Call::other, Call::other};
  std::vector<long> entered(calls.size(), 0);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < calls.size(); ++i)
    threads.emplace_back([&, i] { work(shared, calls[i], entered[i]); });
  for (std::thread& thread : threads) thread.join();
  long total = 0;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (calls[i] == Call::other && entered[i] != kCalls) return 1;
    total += entered[i];
  }
  if (total != shared.inside || !shared.turnstile.is_free()) return 2;
  std::puts("every call alone");
}
