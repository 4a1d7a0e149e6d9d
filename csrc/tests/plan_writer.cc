#include "plan_writer.h"

#include <algorithm>

namespace edgekit::test {

namespace {

u64 aligned(u64 value) {
  return (value + plan::kAlignment - 1) / plan::kAlignment * plan::kAlignment;
}

template <class Entries>
void append(std::vector<unsigned char>& file, plan::span& section, const Entries& entries) {
  file.resize(aligned(file.size()));
  section = {file.size(), entries.size()};
  const auto* begin = reinterpret_cast<const unsigned char*>(entries.data());
  file.insert(file.end(), begin, begin + entries.size() * sizeof entries[0]);
}

}  // namespace

PlanWriter::View PlanWriter::put(const plan::tensor& t, std::vector<View>& some) {
  tensors_.push_back(t);
  some.push_back(static_cast<View>(tensors_.size() - 1));
  return some.back();
}

PlanWriter::View PlanWriter::push(plan::storage kind, plan::type type, const Sizes& size, float scale) {
  plan::tensor t = {};
  t.name = text("t" + std::to_string(tensors_.size()));
  t.element = type;
  t.kind = kind;
  t.dims = static_cast<u32>(size.size());
  t.scale = scale;
  std::fill(t.size, t.size + plan::kMaxDims, 1);
  i64 step = 1;
  for (u32 d = t.dims; d-- > 0; step *= size[d]) {
    t.size[d] = size[d];
    t.step[d] = step;
  }
  t.region_bytes = static_cast<u64>(step) * bytes_of(type);
  const bool input = kind == plan::storage::input, output = kind == plan::storage::output;
  std::vector<View>& some = input ? inputs_ : output ? outputs_ : others_;
  if (input || output) t.region = some.size();
  return put(t, some);
}

PlanWriter::View PlanWriter::input(const Sizes& size, plan::type type, float scale) {
  return push(plan::storage::input, type, size, scale);
}

PlanWriter::View PlanWriter::output(const Sizes& size, plan::type type, float scale) {
  return push(plan::storage::output, type, size, scale);
}

PlanWriter::View PlanWriter::region(const Sizes& size, plan::type type, float scale, plan::storage kind) {
  const View made = push(kind, type, size, scale);
  u64& end = kind == plan::storage::state ? state_ : arena_;
  tensors_[made].region = end;
  end += aligned(tensors_[made].region_bytes);
  return made;
}

PlanWriter::View PlanWriter::framed(const Sizes& size, i64 frame, float scale) {
  const View whole = region({size[0], size[1] + 2 * frame, size[2] + 2 * frame, size[3]}, plan::type::s8, scale);
  const i64 *step = tensors_[whole].step, first = frame * (step[1] + step[2]);
  return view(whole, size, {step[0], step[1], step[2], step[3]}, first);
}

PlanWriter::View PlanWriter::view(View whole, const Sizes& size, const Sizes& step, i64 first) {
  plan::tensor t = tensors_[whole];
  t.dims = static_cast<u32>(size.size());
  std::fill(t.size, t.size + plan::kMaxDims, 1);
  std::fill(t.step, t.step + plan::kMaxDims, 0);
  std::copy(size.begin(), size.end(), t.size);
  std::copy(step.begin(), step.end(), t.step);
  t.first += static_cast<u64>(first) * bytes_of(t.element);
  return put(t, others_);
}

PlanWriter::View PlanWriter::constant(plan::type type, const Sizes& size, const void* values, float scale) {
  const View made = push(plan::storage::constant, type, size, scale);
  const u64 bytes = tensors_[made].region_bytes;
  tensors_[made].region = data_.size();
  const auto* begin = static_cast<const unsigned char*>(values);
  data_.insert(data_.end(), begin, begin + bytes);
  data_.resize(aligned(data_.size()));
  return made;
}

void PlanWriter::add(plan::kind kind, const void* own, std::size_t own_bytes, std::initializer_list<View> inputs,
                     std::initializer_list<View> outputs, u32 flags) {
  const u32 name = text(std::string(plan::kKinds[static_cast<u32>(kind)].name) + std::to_string(operations_.size()));
  operations_.push_back({static_cast<u32>(kind), flags, name, 0, static_cast<u32>(operands_.size()),
                         static_cast<u32>(inputs.size()), static_cast<u32>(outputs.size()),
                         static_cast<u32>(attributes_.size())});
  operands_.insert(operands_.end(), inputs.begin(), inputs.end());
  operands_.insert(operands_.end(), outputs.begin(), outputs.end());
  const auto* begin = static_cast<const unsigned char*>(own);
  attributes_.insert(attributes_.end(), begin, begin + own_bytes);
}

u32 PlanWriter::text(const std::string& words) {
  const auto at = static_cast<u32>(strings_.size());
  strings_ += words + '\0';
  return at;
}

Bytes PlanWriter::bytes() const {
  // Ports first: their places, and those of all others, in the table of the file.
  std::vector<u32> order, place(tensors_.size());
  const auto take = [&](const std::vector<View>& some) {
    for (const View i : some) {
      place[i] = static_cast<u32>(order.size());
      order.push_back(i);
    }
  };
  take(inputs_);
  take(outputs_);
  take(others_);
  Sections all;
  for (const u32 i : order) all.tensors.push_back(tensors_[i]);
  all.operations = operations_;
  all.operands = operands_;
  for (u32& one : all.operands) one = one == plan::kNone ? one : place[one];
  all.attributes = attributes_;
  all.strings = strings_;
  all.data = data_;
  all.data.resize(data_.size() + plan::kSlack);
  std::memcpy(all.head.magic, plan::kMagic, sizeof all.head.magic);
  all.head.major = plan::kMajor;
  all.head.minor = plan::kMinor;
  all.head.arena_bytes = arena_;
  all.head.state_bytes = state_;
  all.head.inputs = static_cast<u32>(inputs_.size());
  all.head.outputs = static_cast<u32>(outputs_.size());
  return all.bytes();
}

Bytes Sections::bytes() const {
  std::vector<unsigned char> file(sizeof(plan::header));
  plan::header full = head;
  append(file, full.tensors, tensors);
  append(file, full.operators, operations);
  append(file, full.operands, operands);
  append(file, full.attributes, attributes);
  append(file, full.strings, strings);
  append(file, full.data, data);
  full.file_bytes = file.size();
  std::memcpy(file.data(), &full, sizeof full);
  Bytes result(file.size());
  std::memcpy(result.data(), file.data(), file.size());
  return result;
}

}  // namespace edgekit::test
