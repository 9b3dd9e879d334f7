// One step over some tensors: who takes part, the functors they share, and how the work is cut.
// What does not change from one step to the next is kept.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "arrangement.hpp"
#include "kernel/kernel_table.hpp"
#include "plan.hpp"
#include "registry.hpp"
#include "threads/pace.hpp"
#include "threads/parallel.hpp"

namespace fusedstep {

// Tensors that share a functor and what is done to their gradients.
struct Cohort {
  std::size_t group = 0;
  std::size_t tensor = 0;  // the number of its first
  const Driver* driver = nullptr;
  const Sweeps* sweeps = nullptr;
  RuleInfo::Fit fit = nullptr;  // of layer-wise rules
  FunctorBytes functor = {};
  Gradient gradient = {};
  bool is_plain = false;        // nothing is done to gradients
  const Array* sets = nullptr;  // where the gradients of all participants are
};

struct Task {
  const TensorView* tensor;
  Participant who;
  std::size_t cohort;
  std::size_t bytes;  // that the step touches
  bool is_bare;       // neither average nor copy, and an element-wise rule

  std::size_t item_bytes() const { return bytes_of(tensor->param.format, 1); }
  const std::byte* address() const {
    return static_cast<const std::byte*>(tensor->param.data) + who.first * item_bytes();
  }
};

class Batch {
 public:
  std::vector<Task> tasks;
  std::vector<Cohort> cohorts;

  void clear();
  // To be called once tasks have changed. Allocates.
  void arrange();
  bool is_arranged() const { return arranged_; }
  // Makes room for measure() and probe(): `slots` is one more than the largest slot that could be.
  void reserve_norms(std::size_t slots);

  std::size_t bytes() const { return plan_.bytes(); }  // that run() touches
  // The most threads that a step of the rule may use, and whether they may be a team's (team.hpp).
  // May allocate.
  void set_threads(int limit, bool team, const RuleInfo& rule);
  int threads() const { return threads_.count; }  // that the latest step used

  // Around the sweeps of a step, which is timed where it could have several threads.
  void start() noexcept;
  void end() noexcept;

  // Reads the gradients: the sum of squares of every task. True where all are finite.
  bool measure() noexcept;
  // Out of the last measure(): of all slots, or of the tasks of one group.
  static constexpr std::size_t kAllGroups = std::size_t(-1);
  double norm(std::size_t group = kAllGroups) noexcept;
  // The first task with a number that is not finite; tasks.size() where there is none.
  std::size_t first_nonfinite() const noexcept;

  // The first sweep of a layer-wise rule.
  void probe() noexcept;

  void run(double ema_decay) noexcept;

 private:
  static void run_lines(void* self, std::size_t first, std::size_t last);
  static void measure_blocks(void* self, std::size_t first, std::size_t last);
  static void probe_blocks(void* self, std::size_t first, std::size_t last);
  template <class Visit>
  void visit_blocks(std::size_t first, std::size_t last, Visit visit);
  Threads threads_for(std::size_t bytes) const;
  Part part_of(const Task& task) const {
    return {task.tensor, task.who.first, cohorts[task.cohort].sets + task.who.first_set};
  }
  void sweep_blocks(void (*body)(void* self, std::size_t first, std::size_t last)) noexcept;

  Plan plan_;
  bool arranged_ = false;
  int limit_ = 1;
  bool team_ = false;
  Threads threads_;
  Pace* pace_ = nullptr;  // null: one thread
  std::chrono::steady_clock::time_point start_;
  double ema_decay_ = 0.0;
  std::vector<Plan::Tensor> extents_;

  std::vector<std::size_t> first_block_;  // of each task, and the end
  std::vector<double> sums_, others_;     // of each block
  std::vector<unsigned char> finite_;     // of each block
  std::vector<double> task_sums_, slots_;
  std::vector<Norms> norms_;
  std::size_t gradient_bytes_ = 0;
};

}  // namespace fusedstep
