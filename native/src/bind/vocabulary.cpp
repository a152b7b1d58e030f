// Vocabularies: their texts, and how tokens can be put together from two others. The latter are some millions of look-ups,
// which take Python most of a second.

#include <nanobind/ndarray.h>

#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bind/bind.h"

namespace nb = nanobind;

namespace windowtax {

namespace {

// Texts by their hash; open addressing, at most half full. They lie together here: what is compared is mostly near.
class Index {
 public:
  explicit Index(const std::vector<std::string_view>& texts) {
    for (const std::string_view text : texts) {
      bytes_ += text;
      ends_.push_back(static_cast<uint32_t>(bytes_.size()));
    }
    size_t size = 2;
    while (size < 2 * texts.size()) size *= 2;
    slots_.assign(size, {0, kNone});
    for (uint32_t i = 0; i < texts.size(); ++i) {
      const uint32_t hash = hashed(text(i));
      slots_[place_of(hash, text(i))] = {hash, i};
    }
  }

  size_t size() const { return ends_.size(); }
  std::string_view text(uint32_t i) const {
    const uint32_t begin = i == 0 ? 0 : ends_[i - 1];
    return {bytes_.data() + begin, ends_[i] - begin};
  }

  static uint32_t hashed(std::string_view text) {
    const size_t hash = std::hash<std::string_view>()(text);
    return static_cast<uint32_t>(hash ^ hash >> 32);
  }
  void ask_for(uint32_t hash) const { __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]); }
  // Which text it is, or kNone.
  uint32_t find(uint32_t hash, std::string_view text) const { return slots_[place_of(hash, text)].which; }

  static constexpr uint32_t kNone = UINT32_MAX;

 private:
  struct Slot {
    uint32_t hash, which;
  };

  // The slot of the text, or the free one in which it would be.
  size_t place_of(uint32_t hash, std::string_view wanted) const {
    const size_t mask = slots_.size() - 1;
    size_t at = hash & mask;
    while (slots_[at].which != kNone && (slots_[at].hash != hash || text(slots_[at].which) != wanted)) at = (at + 1) & mask;
    return at;
  }

  std::string bytes_;
  std::vector<uint32_t> ends_;
  std::vector<Slot> slots_;
};

struct Split {
  uint32_t whole, left, right;
};

// A token's, the longest left part first. All look-ups are asked for before the first.
class Splitter {
 public:
  explicit Splitter(const Index& index) : index_(index) {}

  void add(uint32_t whole, std::vector<Split>& found) {
    const std::string_view text = index_.text(whole);
    cuts_.clear();
    for (size_t at = text.size(); at-- > 1;) {
      if ((static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) continue;  // within a character
      cuts_.push_back({at, Index::hashed(text.substr(0, at)), Index::hashed(text.substr(at))});
      index_.ask_for(cuts_.back().left);
      index_.ask_for(cuts_.back().right);
    }
    for (const Cut& cut : cuts_) {
      const uint32_t left = index_.find(cut.left, text.substr(0, cut.at));
      const uint32_t right = left == Index::kNone ? left : index_.find(cut.right, text.substr(cut.at));
      if (right != Index::kNone) found.push_back({whole, left, right});
    }
  }

 private:
  struct Cut {
    size_t at;
    uint32_t left, right;  // hashes
  };
  const Index& index_;
  std::vector<Cut> cuts_;
};

std::vector<Split> find_splits(const std::vector<std::string_view>& tokens) {
  const Index index(tokens);
  Splitter splitter(index);
  std::vector<Split> found;
  for (uint32_t token = 0; token < index.size(); ++token) splitter.add(token, found);
  return found;
}

nb::object owned(std::vector<int64_t>&& numbers) {
  auto* held = new std::vector<int64_t>(std::move(numbers));
  nb::capsule owner(held, [](void* at) noexcept { delete static_cast<std::vector<int64_t>*>(at); });
  return nb::cast(nb::ndarray<nb::numpy, int64_t, nb::ndim<1>>(held->data(), {held->size()}, owner));
}

// Of each token, in turn, all pairs, the longest left part first: the tokens' indices, and the pairs.
nb::tuple splits(nb::list tokens) {
  std::vector<std::string_view> texts;
  texts.reserve(nb::len(tokens));
  for (nb::handle token : tokens) {
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(token.ptr(), &size);
    if (text == nullptr) throw nb::python_error();
    texts.emplace_back(text, static_cast<size_t>(size));
  }
  std::vector<Split> found;
  {
    nb::gil_scoped_release release;
    found = find_splits(texts);
  }
  std::vector<int64_t> whole;
  nb::list pairs = nb::steal<nb::list>(PyList_New(static_cast<Py_ssize_t>(found.size())));
  for (size_t i = 0; i < found.size(); ++i) {
    whole.push_back(found[i].whole);
    PyObject* pair = PyTuple_Pack(2, PyList_GetItem(tokens.ptr(), found[i].left), PyList_GetItem(tokens.ptr(), found[i].right));
    if (pair == nullptr) throw nb::python_error();
    PyList_SetItem(pairs.ptr(), static_cast<Py_ssize_t>(i), pair);
  }
  return nb::make_tuple(owned(std::move(whole)), pairs);
}

// A list of texts as GGUF has it: of each 8 bytes with its length, and UTF-8.
nb::list texts(nb::bytes data, int64_t count) {
  const char *at = data.c_str(), *end = at + data.size();
  nb::list found;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t size = 0;
    if (end - at < 8) throw std::out_of_range("the list ends in the middle of a text");
    memcpy(&size, at, sizeof size);
    at += 8;
    if (static_cast<uint64_t>(end - at) < size) throw std::out_of_range("the list ends in the middle of a text");
    found.append(nb::steal(PyUnicode_DecodeUTF8(at, static_cast<Py_ssize_t>(size), "replace")));
    at += size;
  }
  return found;
}

}  // namespace

void bind_vocabulary(nb::module_& module) {
  module.def("splits", &splits, "Every way to put a token together from two others: indices of the tokens, and the pairs.",
             nb::arg("tokens"));
  module.def("texts", &texts, "The texts of a GGUF list of so many.", nb::arg("data"), nb::arg("count"));
}

}  // namespace windowtax
