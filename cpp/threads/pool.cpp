#include "pool.hpp"

#include <algorithm>
#include <exception>

#include "numeric/float_environment.hpp"

namespace fusedstep {
namespace {

using namespace std::chrono_literals;

// For as long a thread looks out before it sleeps: to sleep and be woken takes as long.
constexpr Clock::duration kLookOut = 10us;
// For as long at most where the jobs before have come as quickly.
constexpr Clock::duration kMostLookOut = 80us;

// Looks for `what`, for so long.
template <class What>
bool look_out(Clock::duration time, What what) {
  if (what()) return true;
  if (time == time.zero()) return false;
  const auto end = Clock::now() + time;
  do {
    for (int i = 0; i < 4; ++i) {
      pause();
      if (what()) return true;
    }
  } while (Clock::now() < end);
  return false;
}

// The number of a job, with how many threads it has, or which of them is to be woken next.
std::uint64_t pack(std::uint32_t job, int count) {
  return std::uint64_t{job} << 32 | static_cast<std::uint32_t>(count);
}
std::uint32_t job_of(std::uint64_t word) { return std::uint32_t(word >> 32); }
int count_of(std::uint64_t word) { return int(std::uint32_t(word)); }

}  // namespace

// What is read here is the job's own once a part of it is taken: its caller has written this before
// the parts were dealt, and writes it anew only when all of them are done.
struct Pool::Job {
  Job(const Pool& pool, std::uint64_t open)
      : number(job_of(open)),
        threads(count_of(open)),
        body(pool.body_.load(std::memory_order_relaxed)),
        context(pool.context_.load(std::memory_order_relaxed)),
        begin(pool.begin_.load(std::memory_order_relaxed)),
        end(pool.end_.load(std::memory_order_relaxed)),
        part(pool.part_.load(std::memory_order_relaxed)) {}

  void run(std::uint32_t k) const {
    const std::size_t first = begin + k * part;
    body(context, first, std::min(end, first + part));
  }

  std::uint32_t number;
  int threads;
  void (*body)(void*, std::size_t, std::size_t);
  void* context;
  std::size_t begin, end, part;
};

void Pool::run(const Work& work, std::size_t part, int threads, int limit) noexcept {
  callers_.fetch_add(1, std::memory_order_relaxed);
  limit_.store(limit, std::memory_order_relaxed);
  // While the threads work for another caller: alone, part after part.
  std::size_t at = 0;
  while (at < work.units && in_use_.exchange(true, std::memory_order_acquire)) {
    const std::size_t end = std::min(work.units, at + part);
    work.body(work.context, at, end);
    at = end;
  }
  if (at < work.units) {
    share_out(work, at, part, threads);
    in_use_.store(false, std::memory_order_release);
  }
  callers_.fetch_sub(1, std::memory_order_relaxed);
}

void Pool::share_out(const Work& work, std::size_t begin, std::size_t part, int threads) noexcept {
  threads = start_threads(std::min(threads, kMaxThreads));
  if (threads == 1) return work.body(work.context, begin, work.units);
  if (const int cpu = current_cpu(); cpu != avoided_) keep_off(cpu);
  const Clock::duration pause = Clock::now() - last_end_,
                        longest = 2 * std::max(pause, last_pause_);
  last_pause_ = pause;
  body_.store(work.body, std::memory_order_relaxed);
  context_.store(work.context, std::memory_order_relaxed);
  begin_.store(begin, std::memory_order_relaxed);
  end_.store(work.units, std::memory_order_relaxed);
  part_.store(part, std::memory_order_relaxed);
  const Clock::duration expected = longest <= kMostLookOut ? longest : Clock::duration::zero();
  look_out_.store(std::max(expected, work.more ? kLookOut : Clock::duration::zero()).count(),
                  std::memory_order_relaxed);
  const auto parts = static_cast<std::uint32_t>((work.units - begin + part - 1) / part);
  left_.store(parts, std::memory_order_relaxed);
  ++number_;
  const auto n = static_cast<std::uint32_t>(threads);
  const auto cut = [&](std::uint32_t k) { return parts / n * k + parts % n * k / n; };
  for (std::uint32_t k = 0; k < n; ++k) seats_[k]->share.deal(number_, cut(k), cut(k + 1));
  to_wake_.store(pack(number_, 1), std::memory_order_relaxed);
  const std::uint64_t open = pack(number_, threads);
  open_.store(open);
  const Job job(*this, open);
  wake_helpers(job, 2);
  const std::uint32_t done = help(job, 0);
  if (left_.fetch_sub(done) != done) await_parts();
  open_.store(pack(number_, 0));
  last_end_ = Clock::now();
}

// How many threads there are of those wanted.
int Pool::start_threads(int wanted) noexcept {
  if (started_ >= wanted) return wanted;
  if (Clock::now() < retry_) return started_;
  try {
    if (!seats_[0]) seats_[0] = std::make_unique<Seat>();
    for (; started_ < wanted; ++started_) {
      const int self = started_;
      seats_[std::size_t(self)] = std::make_unique<Seat>();
      seats_[std::size_t(self)]->thread = start_thread(self, [this, self] { serve(self); });
      avoided_ = kNoCpu;
    }
  } catch (const std::exception&) {  // no memory, or no more threads for this process
    retry_ = Clock::now() + 1s;
  }
  return started_;
}

void Pool::serve(int self) noexcept {
  const FloatEnvironment ours;
  for (std::uint32_t seen = 0;;) {
    const Job job(*this, next_job(self, seen));
    seen = job.number;
    wake_helpers(job, 2);
    const std::uint32_t done = help(job, self);
    if (done != 0 && left_.fetch_sub(done) == done) caller_.wake();
  }
}

// Sleeps until there is a job that wants this thread.
std::uint64_t Pool::next_job(int self, std::uint32_t seen) noexcept {
  Parking& parking = seats_[std::size_t(self)]->parking;
  std::uint64_t open = 0;
  const auto is_wanted = [&] {
    open = open_.load();
    return job_of(open) != seen && self < count_of(open);
  };
  for (;;) {
    if (look_out(Clock::duration(look_out_.load(std::memory_order_relaxed)), is_wanted))
      return open;
    parking.announce();
    if (is_wanted()) {
      parking.withdraw();
      return open;
    }
    parking.sleep();
  }
}

// Does parts, its own first, as long as there are any. How many it has done.
std::uint32_t Pool::help(const Job& job, int self) noexcept {
  std::uint32_t done = 0, part = 0;
  for (int i = 0; i < job.threads; ++i) {
    Share& share = seats_[std::size_t((self + i) % job.threads)]->share;
    while ((self == 0 || may_help(self)) && share.take(job.number, i == 0, part)) {
      job.run(part);
      ++done;
      if (self == 0) wake_helpers(job, 1);
    }
  }
  return done;
}

// To wake a thread takes a microsecond or two: those that are awake wake the next ones.
void Pool::wake_helpers(const Job& job, int count) noexcept {
  while (count > 0) {
    std::uint64_t word = to_wake_.load(std::memory_order_relaxed);
    const int next = count_of(word);
    if (job_of(word) != job.number || next >= job.threads || !may_help(next)) return;
    if (!to_wake_.compare_exchange_weak(word, word + 1, std::memory_order_relaxed)) continue;
    Seat& seat = *seats_[std::size_t(next)];
    if (seat.share.is_left(job.number)) seat.parking.wake();
    --count;
  }
}

void Pool::keep_off(int cpu) noexcept {
  const AllowedCpus allowed(cpu);
  for (int k = 1; k < started_; ++k) allowed.allow(seats_[std::size_t(k)]->thread);
  avoided_ = cpu;
}

// Until the parts that others are in the middle of are done.
void Pool::await_parts() noexcept {
  const auto is_done = [&] { return left_.load() == 0; };
  if (look_out(kLookOut, is_done)) return;
  keep_off(kNoCpu);  // who was taken off a CPU for another program may have this one
  for (;;) {
    caller_.announce();
    if (is_done()) return caller_.withdraw();
    caller_.sleep();
  }
}

}  // namespace fusedstep
