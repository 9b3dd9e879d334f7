#include "stepper.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "block.hpp"
#include "launch.hpp"

namespace fusedstep::cuda {
namespace {

// Arrays laid one behind the other, to be copied in one go.
class Bundle {
 public:
  template <class T>
  std::size_t add(const T* numbers, std::size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    const std::size_t at = (bytes_.size() + kAlignment - 1) / kAlignment * kAlignment;
    bytes_.resize(at + count * sizeof(T));
    if (count != 0) std::memcpy(bytes_.data() + at, numbers, count * sizeof(T));
    return at;
  }
  template <class T>
  std::size_t add(const std::vector<T>& numbers) {
    return add(numbers.data(), numbers.size());
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  static constexpr std::size_t kAlignment = 16;
  std::vector<std::byte> bytes_;
};

template <class T>
T* at(const Buffer& buffer, std::size_t offset) {
  return reinterpret_cast<T*>(static_cast<std::byte*>(buffer.data()) + offset);
}

void put(Buffer& buffer, const std::vector<std::byte>& bytes, Stream stream) {
  buffer.reserve(std::max<std::size_t>(bytes.size(), 1));
  if (!bytes.empty()) copy_in(buffer.data(), bytes.data(), bytes.size(), stream);
}

}  // namespace

void Stepper::use(int device, Stream stream) {
  device_ = device;
  stream_ = stream;
}

void Stepper::tell(bool* applied, double* grad_norm) {
  applied_ = applied;
  grad_norm_ = grad_norm;
}

void Stepper::add(Tensor tensor) {
  if (!captured_.empty())
    throw std::invalid_argument("parameter '" + tensor.name +
                                "': expected before the first step that was captured, got after");
  pull_counters();
  enlist(std::move(tensor));
  steps_.push_back(0);
  counters_are_there_ = groups_are_there_ = dense_.valid = false;
}

std::int64_t Stepper::step_count() {
  pull_counters();
  return step_count_;
}

const std::vector<std::int64_t>& Stepper::steps() {
  pull_counters();
  return steps_;
}

void Stepper::set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps) {
  step_count_ = step_count;
  steps_ = steps;
  if (counters_are_there_) push_counters();
}

void Stepper::freeze(std::size_t tensor, bool frozen) {
  frozen_.at(tensor) = frozen;
  dense_.valid = false;
}

void Stepper::push_counters() {
  const OnDevice on(device_);
  const Progress progress{step_count_, 0, kNone, kNone};
  progress_.reserve(sizeof progress);
  copy_in(progress_.data(), &progress, sizeof progress, stream_);
  const std::size_t bytes = steps_.size() * sizeof(std::int64_t);
  steps_buffer_.reserve(bytes);
  copy_in(steps_buffer_.data(), steps_.data(), bytes, stream_);
  counters_are_there_ = true;
}

// As long as the host has seen every step, and whether it was applied.
bool Stepper::knows_counters() const {
  return !counters_are_there_ || (!policy_.skip_nonfinite && captured_.empty());
}

void Stepper::pull_counters() {
  if (knows_counters()) return;
  if (is_capturing(stream_))
    throw std::invalid_argument(
        "step counters: expected to be read outside of a capture, since the host does not know "
        "them "
        "(skip_nonfinite, or an earlier capture) and that waits for the device, got inside of "
        "one");
  const OnDevice on(device_);
  Progress progress;
  copy_out(&progress, progress_.data(), sizeof progress, stream_);
  step_count_ = progress.step_count;
  copy_out(steps_.data(), steps_buffer_.data(), steps_.size() * sizeof(std::int64_t), stream_);
}

void Stepper::publish_groups() {
  groups_are_there_ = false;
  if (!captured_.empty()) push_groups();  // else the next step does
}

void Stepper::push_groups() {
  std::vector<GroupOptions> options;
  for (const Group& group : groups_) {
    GroupOptions& own = options.emplace_back();
    std::copy(group.scalars.begin(), group.scalars.end(), own.scalars);
    own.weight_decay = group.weight_decay;
    own.max_norm = group.max_norm.value_or(0.0);
    own.max_value = group.max_value;
    own.variant = group.variant;
    own.maximize = group.maximize;
    own.clips = group.max_norm.has_value();
  }
  const OnDevice on(device_);
  groups_buffer_.reserve(options.size() * sizeof(GroupOptions));
  clips_.reserve(options.size() * sizeof(double));
  copy_in(groups_buffer_.data(), options.data(), options.size() * sizeof(GroupOptions), stream_);
  groups_are_there_ = true;
}

void Stepper::prepare(const GradientSets& gradients) {
  const OnDevice on(device_);
  if (!is_arranged(gradients)) arrange(gradients);
  for (std::size_t i = 0; i < tensors_.size(); ++i)
    if (takes_part_[i] && !frozen_[i]) check_counter(i, steps_[i]);
  const std::size_t sets = tensors_.size() * gradients.set_count;
  call(dense_, gradients.sets, sets, gradients.weights, gradients.set_count);
  dense_.sweep.divisor = gradients.divisor;
  dense_.sweep.zero = gradients.zero;
  ready(dense_, gradients.scale);
}

bool Stepper::is_arranged(const GradientSets& gradients) const {
  if (!dense_.valid || arranged_set_count_ != gradients.set_count) return false;
  for (std::size_t i = 0; i < tensors_.size(); ++i)
    if ((gradients.sets[i * gradients.set_count] != nullptr) != takes_part_[i]) return false;
  return true;
}

void Stepper::arrange(const GradientSets& gradients) {
  dense_.valid = false;  // until it is whole
  takes_part_.assign(tensors_.size(), false);
  std::vector<Task> tasks;
  std::vector<std::uint32_t> counters;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    takes_part_[i] = gradients.sets[i * gradients.set_count] != nullptr;
    if (!takes_part_[i] || frozen_[i]) continue;
    Task& task = tasks.emplace_back(task_of(i));
    task.first_set = i * gradients.set_count;
    task.set_count = gradients.set_count;
    counters.push_back(task.counter);
  }
  lay_out(dense_, std::move(tasks), tensors_.size(), counters);
  dense_.sweep.counts = true;
  arranged_set_count_ = gradients.set_count;
  dense_.valid = true;
}

Task Stepper::task_of(std::size_t i) const {
  const Tensor& tensor = tensors_[i];
  Task task{};
  task.view = view_of(i);
  task.size = tensor.size;
  task.group = static_cast<std::uint32_t>(tensor.group);
  task.counter = task.slot = static_cast<std::uint32_t>(i);
  task.dtype = tensor.dtype;
  return task;
}

// A row is a tensor of its own, but for the counter.
void Stepper::prepare(const RowGradients& gradients) {
  const OnDevice on(device_);
  check_counter(gradients.tensor, steps_[gradients.tensor]);
  const Task whole = task_of(gradients.tensor);
  std::vector<Task> tasks;
  for (std::size_t i = 0; i < gradients.rows.size(); ++i) {
    Task& task = tasks.emplace_back(whole);
    task.view = row_of(whole.view, item_size(whole.dtype), gradients.rows[i], gradients.row_size);
    task.size = gradients.row_size;
    task.slot = static_cast<std::uint32_t>(i);
    task.first_set = gradients.first[i];
    task.set_count = gradients.first[i + 1] - gradients.first[i];
  }
  const std::size_t slots = tasks.size();
  lay_out(rows_, std::move(tasks), slots, {whole.counter});
  rows_tensor_ = gradients.tensor;
  call(rows_, gradients.sets.data(), gradients.sets.size(), nullptr, 0);
  rows_.sweep.divisor = 1.0;
  rows_.sweep.counts = rows_.sweep.zero = false;
  ready(rows_, gradients.scale);
}

// Tasks, the chunks that they are cut into, and where they stand, copied to the device.
void Stepper::lay_out(Tables& tables, std::vector<Task> tasks, std::size_t slots,
                      const std::vector<std::uint32_t>& counters) {
  std::uint64_t elements = 0, blocks = 0;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    tasks[i].first_block = blocks;
    blocks += reduce_blocks(tasks[i].size);
    elements += tasks[i].size;
  }
  const auto processors = static_cast<std::uint64_t>(processor_count(device_));
  std::vector<std::uint32_t> task_of_slot(slots, kNone);
  const auto cut = [&](std::uint64_t size) {
    std::vector<Chunk> chunks;
    for (std::size_t i = 0; i < tasks.size(); ++i)
      for (std::uint64_t begin = 0; begin < tasks[i].size; begin += size)
        chunks.push_back({begin, static_cast<std::uint32_t>(i)});
    return chunks;
  };
  // A block that sums has a warp for each block of the tree.
  const std::uint64_t size = chunk_size(elements, processors, kReduceBlock),
                      sum_size = chunk_size(elements, processors, kWarps * kReduceBlock);
  const std::vector<Chunk> chunks = cut(size), sum_chunks = cut(sum_size);
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i].size != 0) task_of_slot[tasks[i].slot] = static_cast<std::uint32_t>(i);
    tasks[i].chunks = static_cast<std::uint32_t>((tasks[i].size + sum_size - 1) / sum_size);
  }

  Bundle bundle;
  const std::size_t to_tasks = bundle.add(tasks), to_chunks = bundle.add(chunks),
                    to_sum_chunks = bundle.add(sum_chunks), to_counters = bundle.add(counters),
                    to_slots = bundle.add(task_of_slot),
                    to_tickets = bundle.add(std::vector<unsigned>(tasks.size()));
  put(tables.plan, bundle.bytes(), stream_);
  tables.sums.reserve((2 * blocks + tasks.size() + reduce_blocks(slots)) * sizeof(double));

  Sweep& sweep = tables.sweep;
  sweep = {};
  sweep.tasks = at<Task>(tables.plan, to_tasks);
  sweep.chunks = {at<Chunk>(tables.plan, to_chunks), chunks.size(), size};
  tables.sum_chunks = {at<Chunk>(tables.plan, to_sum_chunks), sum_chunks.size(), sum_size};
  sweep.counters = at<std::uint32_t>(tables.plan, to_counters);
  sweep.task_of_slot = at<std::uint32_t>(tables.plan, to_slots);
  sweep.tickets = at<unsigned>(tables.plan, to_tickets);
  sweep.counter_count = counters.size();
  sweep.slot_count = slots;
  double* free = at<double>(tables.sums, 0);
  const auto take = [&](std::uint64_t count) { return std::exchange(free, free + count); };
  sweep.sums = take(blocks);
  sweep.param_sums = take(blocks);
  sweep.task_sums = take(tasks.size());
  sweep.scratch = take(reduce_blocks(slots));
}

// The gradients' addresses and weights, copied to the device where they differ from last time's.
void Stepper::call(Tables& tables, const void* const* sets, std::size_t count,
                   const double* weights, std::size_t weight_count) {
  Bundle bundle;
  const std::size_t to_sets = bundle.add(sets, count),
                    to_weights = bundle.add(weights, weights == nullptr ? 0 : weight_count);
  if (bundle.bytes() != tables.called) {
    tables.called.clear();  // until they are there
    put(tables.call, bundle.bytes(), stream_);
    tables.called = std::move(bundle.bytes());
  }
  tables.sweep.sets = at<const void*>(tables.call, to_sets);
  tables.sweep.weights = weights == nullptr ? nullptr : at<double>(tables.call, to_weights);
}

void Stepper::ready(Tables& tables, const Scale& scale) {
  check_step_count(step_count_);
  if (policy_.error_if_nonfinite && is_capturing(stream_))
    throw std::invalid_argument(
        "error_if_nonfinite: expected a step that is not captured, since it waits for the device, "
        "got one that is");
  if (!counters_are_there_) push_counters();
  if (!groups_are_there_) push_groups();
  Sweep& sweep = tables.sweep;
  sweep.groups = at<GroupOptions>(groups_buffer_, 0);
  sweep.group_count = groups_.size();
  sweep.clips = at<double>(clips_, 0);
  sweep.progress = at<Progress>(progress_, 0);
  sweep.steps = at<std::int64_t>(steps_buffer_, 0);
  sweep.scale = scale.value;
  sweep.scale_at = scale.at;
  sweep.scale_dtype = scale.dtype;
  sweep.measures = measures();
  sweep.guards = policy_.skip_nonfinite || policy_.error_if_nonfinite;
  sweep.clip_per_group = policy_.clip_per_group;
  sweep.ema_decay = policy_.ema_decay;
  sweep.applied = applied_;
  sweep.grad_norm = grad_norm_;
  next_ = &tables;
}

Outcome Stepper::run() {
  const OnDevice on(device_);
  const Sweep& sweep = next_->sweep;
  Sweep sums = sweep;
  sums.chunks = next_->sum_chunks;
  const auto blocks = [](const Sweep& of) {
    return static_cast<unsigned>(std::max<std::uint64_t>(of.chunks.count, 1));
  };
  const RuleLaunches& rule = launches_of(rule_);
  if (sweep.measures) launch_measure(sums, blocks(sums), stream_);
  if (rule.probe != nullptr) rule.probe(sums, blocks(sums), stream_);
  rule.update(sweep, blocks(sweep), stream_);
  check_launch();
  Outcome outcome;
  if (policy_.error_if_nonfinite) {
    Progress progress;
    copy_out(&progress, progress_.data(), sizeof progress, stream_);
    outcome.applied = progress.found == kNone;
    if (!outcome.applied) outcome.nonfinite = next_ == &dense_ ? progress.found : rows_tensor_;
  }
  if (is_capturing(stream_))
    keep_for_graph();
  else if (outcome.applied)
    count_step();
  return outcome;
}

void Stepper::count_step() {
  if (next_ == &rows_) {
    ++steps_[rows_tensor_];
    return;
  }
  ++step_count_;
  for (std::size_t i = 0; i < tensors_.size(); ++i) steps_[i] += takes_part_[i] && !frozen_[i];
}

// The graph will read these tables whenever it is replayed.
void Stepper::keep_for_graph() { captured_.push_back(std::exchange(*next_, Tables{})); }

}  // namespace fusedstep::cuda
