#include "model.hpp"

#include <ucontext.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <system_error>

namespace model {

std::chrono::nanoseconds time{0};
int most_helpers = 0;

namespace {

constexpr std::size_t kStack = 64 << 10;

struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  std::function<void()> body;
  std::function<bool()> ready;  // empty: runnable
  bool is_helper = false, is_over = false;
  bool can_go_on() const { return !is_over && (!ready || ready()); }
};

// One execution: the thread chosen at each point, as prescribed; then the current one continues.
struct Choice {
  std::size_t taken, options;
};
std::vector<Choice> path;
std::size_t depth;
int preemptions_left;
const Search* search;
std::mt19937_64 bits;

std::vector<std::unique_ptr<Thread>> threads;
std::size_t current;
ucontext_t scheduler;
int helpers;
std::string failure;

void enter() {
  threads[current]->body();
  threads[current]->is_over = true;
  swapcontext(&threads[current]->context, &scheduler);
}

std::size_t choose(std::size_t options) {
  if (options == 1) return 0;
  if (search->random_orders > 0) return bits() % options;
  if (depth == path.size()) path.push_back({0, options});
  return path[depth++].taken;
}

bool callers_are_over() {
  for (const auto& t : threads)
    if (!t->is_helper && !t->is_over) return false;
  return true;
}

// The thread to run next; the number of threads if none is runnable.
std::size_t next() {
  std::vector<std::size_t> able;
  const bool is_early = search->helpers_come_late && !callers_are_over();
  const bool goes_on = current < threads.size() && threads[current]->can_go_on() &&
                       !(is_early && threads[current]->is_helper);
  if (goes_on) able.push_back(current);
  const bool may_stop = !goes_on || search->random_orders > 0 || preemptions_left > 0;
  for (std::size_t i = 0; may_stop && i < threads.size(); ++i)
    if (i != current && threads[i]->can_go_on() && !(is_early && threads[i]->is_helper))
      able.push_back(i);
  if (able.empty()) return threads.size();
  const std::size_t taken = choose(able.size());
  if (goes_on && taken != 0) --preemptions_left;
  return able[taken];
}

void execute(const std::function<void()>& program) {
  threads.clear();
  failure.clear();
  depth = 0;
  helpers = 0;
  time = std::chrono::nanoseconds(0);
  preemptions_left = search->preemptions;
  current = threads.size();
  program();
  for (long steps = 0; failure.empty(); ++steps) {
    current = next();
    if (current == threads.size()) break;
    swapcontext(&scheduler, &threads[current]->context);
    if (steps > 100000) failure = "no progress";
  }
  if (failure.empty() && !callers_are_over()) failure = "deadlock";
}

// The next path in depth-first order; false if there is none.
bool advance() {
  while (!path.empty() && path.back().taken + 1 == path.back().options) path.pop_back();
  if (path.empty()) return false;
  ++path.back().taken;
  return true;
}

}  // namespace

void point() {
  if (current < threads.size()) swapcontext(&threads[current]->context, &scheduler);
}

void wait(const std::function<bool()>& ready) {
  threads[current]->ready = ready;
  point();
  threads[current]->ready = nullptr;
}

void start(std::function<void()> body, bool is_helper) {
  if (is_helper && helpers == most_helpers)
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
  helpers += is_helper;
  threads.push_back(std::make_unique<Thread>());
  Thread& thread = *threads.back();
  thread.body = std::move(body);
  thread.is_helper = is_helper;
  getcontext(&thread.context);
  thread.context.uc_stack.ss_sp = thread.stack.get();
  thread.context.uc_stack.ss_size = kStack;
  makecontext(&thread.context, enter, 0);
}

void check(bool right, const char* what) {
  if (!right && failure.empty()) failure = what;
}

long explore(const Search& how, const std::function<void()>& program) {
  search = &how;
  path.clear();
  bits.seed(1);
  long orders = 0;
  do {
    ++orders;
    execute(program);
    if (!failure.empty()) {
      std::printf("order %ld: %s\n", orders, failure.c_str());
      return -1;
    }
  } while (how.random_orders > 0 ? orders < how.random_orders : advance());
  threads.clear();
  return orders;
}

}  // namespace model
