#include "turnstile.hpp"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <vector>

#include "process.hpp"

namespace fusedstep {
namespace {

// An address that only this thread has.
const void* this_thread() {
  static thread_local const char self = 0;
  return &self;
}

// The fork count above, the kind of call in the lowest bit.
int pack(int forks, Turnstile::Call call) {
  return forks * 2 + (call == Turnstile::Call::step ? 1 : 0);
}

}  // namespace

// Of the whole process: only who has to wait comes here.
struct Turnstile::Line {
  std::mutex mutex;
  std::condition_variable moved;
  std::vector<const Place*> places;  // first come, first served

  bool is_first(const Place* place) const {
    const auto same = [&](const Place* other) { return &other->turnstile_ == &place->turnstile_; };
    return *std::find_if(places.begin(), places.end(), same) == place;
  }
  // To be called with the mutex: renews what the turnstile knows about its line.
  void recount(Turnstile& turnstile) {
    turnstile.awaited_ = std::any_of(places.begin(), places.end(), [&](const Place* place) {
      return &place->turnstile_ == &turnstile;
    });
  }
};

bool Turnstile::take(Call call) {
  int expected = kFree;
  if (!inside_.compare_exchange_strong(expected, pack(fork_count(), call))) return false;
  thread_.store(this_thread(), std::memory_order_relaxed);
  return true;
}

Turnstile::Answer Turnstile::look(Call call) const {
  const int inside = inside_;
  if (inside == kFree) return Answer::wait;
  if (inside == kClosed) return Answer::closed;
  if (inside / 2 != fork_count()) return Answer::forked;
  if (thread_.load(std::memory_order_relaxed) == this_thread()) return Answer::in_use;
  return call == Call::step && inside % 2 == 1 ? Answer::in_use : Answer::wait;
}

bool Turnstile::close() {
  int expected = kFree;
  return inside_.compare_exchange_strong(expected, kClosed);
}

void Turnstile::leave() {
  thread_.store(nullptr, std::memory_order_relaxed);  // before another thread can enter
  inside_ = kFree;
  if (!awaited_) return;
  try {
    auto& line = of_process<Line>();
    {
      const std::lock_guard<std::mutex> lock(line.mutex);
      line.recount(*this);  // a forked child has nobody of its parent's in line
    }
    line.moved.notify_all();
  } catch (const std::exception&) {  // out of memory in a forked child: nobody waits there
  }
}

Turnstile::Place::Place(Turnstile& turnstile, Call call)
    : turnstile_(turnstile), call_(call), forks_(fork_count()), line_(of_process<Line>()) {
  const std::lock_guard<std::mutex> lock(line_.mutex);
  line_.places.push_back(this);
  turnstile_.awaited_ = true;
}

Turnstile::Place::~Place() {
  if (forks_ != fork_count()) return;  // the line is the parent's
  {
    const std::lock_guard<std::mutex> lock(line_.mutex);
    line_.places.erase(std::find(line_.places.begin(), line_.places.end(), this));
    line_.recount(turnstile_);
  }
  line_.moved.notify_all();
}

Turnstile::Answer Turnstile::Place::wait(std::chrono::milliseconds time) {
  if (forks_ != fork_count()) return Answer::forked;
  const auto end = std::chrono::steady_clock::now() + time;
  std::unique_lock<std::mutex> lock(line_.mutex);
  for (;;) {
    if (line_.is_first(this) && turnstile_.take(call_)) return Answer::entered;
    const Answer answer = turnstile_.look(call_);
    if (answer != Answer::wait) return answer;
    if (line_.moved.wait_until(lock, end) == std::cv_status::timeout) return Answer::wait;
  }
}

}  // namespace fusedstep
