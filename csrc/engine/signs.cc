#include "signs.h"

#include <map>

namespace edgekit {

namespace {

// Groups of writes that have one form, and who wants which.
class groups {
 public:
  std::size_t make() {
    parent_.push_back(parent_.size());
    biased_.push_back(false);
    plain_.push_back(false);
    return parent_.size() - 1;
  }
  std::size_t find(std::size_t at) {
    while (parent_[at] != at) at = parent_[at] = parent_[parent_[at]];
    return at;
  }
  std::size_t join(std::size_t a, std::size_t b) {
    a = find(a);
    b = find(b);
    parent_[b] = a;
    biased_[a] = biased_[a] || biased_[b];
    plain_[a] = plain_[a] || plain_[b];
    return a;
  }
  void want_biased(std::size_t at) { biased_[find(at)] = true; }
  void want_plain(std::size_t at) { plain_[find(at)] = true; }
  std::uint8_t sign(std::size_t at) { return biased_[find(at)] && !plain_[find(at)] ? 0x80 : 0; }

 private:
  std::vector<std::size_t> parent_;
  std::vector<bool> biased_, plain_;
};

// Which group wrote each byte of the arena last.
class writers {
 public:
  explicit writers(groups& all) : all_(all) {}

  std::size_t read(byte_range range) {
    std::size_t group = all_.make();
    for (auto at = first(range.begin); at != last_.end() && at->first < range.end; ++at)
      group = all_.join(group, at->second.group);
    return group;
  }

  // Bytes between the elements keep what they hold: they and what is written are of one form from now on.
  std::size_t write(byte_range range, bool all_bytes) {
    const std::size_t group = all_bytes ? all_.make() : read(range);
    cut(range.begin);
    cut(range.end);
    last_.erase(last_.lower_bound(range.begin), last_.lower_bound(range.end));
    if (range.begin < range.end) last_[range.begin] = {range.end, group};
    return group;
  }

 private:
  struct piece {
    u64 end;
    std::size_t group;
  };
  using pieces = std::map<u64, piece>;

  pieces::iterator first(u64 begin) {
    auto at = last_.upper_bound(begin);
    if (at != last_.begin() && std::prev(at)->second.end > begin) --at;
    return at;
  }
  void cut(u64 where) {
    const auto at = first(where);
    if (at == last_.end() || at->first >= where) return;
    last_[where] = at->second;
    at->second.end = where;
  }

  groups& all_;
  pieces last_;
};

bool has_form(const pointer& own) {
  return own.view.element == plan::type::s8 && own.view.kind == plan::storage::arena;
}

}  // namespace

std::vector<std::vector<std::uint8_t>> signs_of(const std::vector<invocation>& calls,
                                                const std::vector<choice>& choices) {
  groups all;
  writers memory(all);
  std::vector<std::vector<std::size_t>> group(calls.size());
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const bool biased = sign_rule_of(calls[i], choices[i]) == sign_rule::biased;
    group[i].resize(calls[i].pointers.size());
    for (const bool written : {false, true}) {
      for (std::size_t p = 0; p < calls[i].pointers.size(); ++p) {
        const pointer& own = calls[i].pointers[p];
        if (own.written != written || own.view.kind != plan::storage::arena) continue;
        const byte_range range = range_of(own.touched);
        const bool all_bytes = same_view(own.view, own.touched) && fills_its_range(own.view);
        group[i][p] = written ? memory.write(range, all_bytes) : memory.read(range);
        if (!has_form(own)) all.want_plain(group[i][p]);
        if (has_form(own) && biased) all.want_biased(group[i][p]);
      }
    }
  }
  std::vector<std::vector<std::uint8_t>> result(calls.size());
  for (std::size_t i = 0; i < calls.size(); ++i)
    for (std::size_t p = 0; p < calls[i].pointers.size(); ++p)
      result[i].push_back(has_form(calls[i].pointers[p]) ? all.sign(group[i][p]) : 0);
  return result;
}

}  // namespace edgekit
