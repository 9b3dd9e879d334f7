// Admits one call at a time to what several threads share. Calls are of two kinds: a step is
// refused beside a running step, every other call waits in line until it is its turn. Nobody passes
// those who wait, so a thread that steps in a loop does not keep others out.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace fusedstep {

class Turnstile {
 public:
  enum class Call { step, other };
  enum class Answer {
    entered,
    wait,    // in line
    in_use,  // by a step, and this is one; or by this thread itself
    forked,  // by a thread that this process does not have
    closed,
  };

  Turnstile() = default;
  Turnstile(const Turnstile&) = delete;
  Turnstile& operator=(const Turnstile&) = delete;

  // Does not block.
  Answer enter(Call call) { return !awaited_ && take(call) ? Answer::entered : look(call); }
  void leave();

  bool is_free() const { return inside_ == kFree; }
  // Lets nobody in any more. False, and no change, where someone is inside.
  bool close();

  class Place;

 private:
  struct Line;
  bool take(Call call);
  Answer look(Call call) const;

  static constexpr int kFree = -1, kClosed = -2;
  std::atomic<int> inside_{kFree};  // fork_count() of the call's process, and whether it is a step
  std::atomic<const void*> thread_{nullptr};  // the call's
  std::atomic<bool> awaited_{false};          // whether there is anyone in line
};

// A place in line, until destroyed.
class Turnstile::Place {
 public:
  Place(Turnstile& turnstile, Call call);
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  // `wait` once the time is up.
  Answer wait(std::chrono::milliseconds time);

 private:
  friend struct Line;

  Turnstile& turnstile_;
  const Call call_;
  const int forks_;
  Line& line_;
};

}  // namespace fusedstep
