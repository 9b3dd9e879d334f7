// The pool's own source under a scheduler that tries the orders in which its threads can go on
// (model/): a thread that comes late or never, one that is stopped between taking a part and doing
// it, one that is early for the next job, callers side by side, threads that cannot be started.
//
// Wanted in every order: each unit is done once, before run() returns; nobody is waited for who has
// taken no part; nobody does a part, or reads a context, of a job that is over.
#include <cstdio>
#include <memory>
#include <vector>

#include "threads/pool.hpp"

using namespace fusedstep;

namespace {

struct Job {
  std::vector<int> done;
  bool is_over = false;
};

void body(void* context, std::size_t first, std::size_t last) {
  Job& job = *static_cast<Job*>(context);
  model::check(!job.is_over, "a part of a job that is over");
  model::point();  // stopped with a part in hand
  model::check(first < last && last <= job.done.size(), "a part of other units");
  for (std::size_t i = first; i < last; ++i) ++job.done[i];
  model::check(!job.is_over, "a job was over too early");
}

struct Setting {
  const char* name;
  int callers, jobs, threads, limit, helpers;
  std::size_t units, part;
  bool more;
};

std::unique_ptr<Pool> pool;
std::vector<std::unique_ptr<Job>> all;  // of an execution: a late thread may look at what is over

void program(const Setting& s) {
  pool = std::make_unique<Pool>();
  all.clear();
  model::most_helpers = s.helpers;
  for (int caller = 0; caller < s.callers; ++caller)
    model::start(
        [s] {
          for (int k = 0; k < s.jobs; ++k) {
            all.push_back(std::make_unique<Job>());
            Job& job = *all.back();
            job.done.assign(s.units, 0);
            pool->run({s.units, 0, body, &job, s.more}, s.part, s.threads, s.limit);
            job.is_over = true;
            for (const int times : job.done) model::check(times == 1, "a unit not done once");
          }
        },
        /*is_helper=*/false);
}

bool tried(const char* how, const Setting& s, const model::Search& search) {
  const long orders = model::explore(search, [&] { program(s); });
  std::printf("%s, %s: %ld orders\n", s.name, how, orders);
  return orders > 0;
}

}  // namespace

int main() {
  const Setting settings[] = {
      {"one job", 1, 1, 2, 2, 9, 3, 1, false},
      {"jobs in a row", 1, 3, 2, 2, 9, 5, 2, true},
      {"three threads", 1, 2, 3, 3, 9, 5, 1, false},
      {"two callers", 2, 2, 2, 2, 9, 3, 1, false},
      {"two callers, room for all", 2, 2, 3, 4, 9, 4, 1, true},
      {"no thread to be had", 1, 2, 3, 3, 0, 4, 1, false},
      {"one of two to be had", 1, 2, 3, 3, 1, 4, 1, false},
  };
  bool right = true;
  for (const Setting& s : settings) {
    right = tried("late", s, {1, 0, true}) && right;
    right = tried("every order", s, {s.callers == 1 && s.threads == 2 ? 2 : 1, 0, false}) && right;
    right = tried("random", s, {0, 3000, false}) && right;
  }
  all.clear();
  return right ? 0 : 1;
}
