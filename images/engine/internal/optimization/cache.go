// SPDX-License-Identifier: Apache-2.0

package optimization

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"sync/atomic"

	"nexus.example/engine/internal/core"
)

// Key names a decision by what it depends on.
type Key [sha256.Size]byte

// NewKey makes the key of the decision that a policy, named by its digest, takes on an input as it was sent. Two
// spellings of one input have two keys, which costs a second evaluation and nothing else.
func NewKey(policyDigest string, input []byte) Key {
	h := sha256.New()
	h.Write([]byte(policyDigest))
	h.Write([]byte{0})
	h.Write(input)
	return Key(h.Sum(nil))
}

// Cache keeps the decisions used last, up to a fixed number. Decisions are shared with callers, who must not change
// them. It is safe for use by several goroutines.
type Cache struct {
	hits, misses atomic.Uint64

	mu      sync.Mutex
	entries int
	order   *list.List // of item, the one used last in front
	byKey   map[Key]*list.Element
}

type item struct {
	key      Key
	decision core.Decision
}

// NewCache returns a cache of so many entries; with 0 it keeps nothing.
func NewCache(entries int) *Cache {
	return &Cache{entries: entries, order: list.New(), byKey: map[Key]*list.Element{}}
}

// Get returns the decision kept under the key, and whether there is one.
func (c *Cache) Get(key Key) (core.Decision, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, found := c.byKey[key]
	if !found {
		c.misses.Add(1)
		return core.Decision{}, false
	}
	c.hits.Add(1)
	c.order.MoveToFront(element)
	return element.Value.(item).decision, true
}

// Put keeps a decision, and drops the one that was not used for the longest time when there are too many.
func (c *Cache) Put(key Key, decision core.Decision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.byKey[key]; found || c.entries == 0 {
		return
	}
	c.byKey[key] = c.order.PushFront(item{key, decision})
	if c.order.Len() > c.entries {
		oldest := c.order.Remove(c.order.Back()).(item)
		delete(c.byKey, oldest.key)
	}
}

// Counts returns how many calls of Get found a decision and how many did not.
func (c *Cache) Counts() (hits, misses uint64) { return c.hits.Load(), c.misses.Load() }
