// Package cases is what the suites in Go share: how cases are run and told, and what they wait and check with.
package cases

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Limit is max.message.bytes where nothing is set.
const Limit = 1048588

// Long enough for a broker that takes half a minute to start, and is killed again and again.
const caseTimeMax = 300 * time.Second

var (
	Bootstrap = os.Getenv("BOOTSTRAP")
	runner    = bufio.NewReader(os.Stdin)
	counter   atomic.Int64
)

type Test struct {
	Name string
	Run  func(context.Context)
}

// failure is what a case panics with when what it checks does not hold.
type failure struct{ what string }

// Run runs those tests that the command line names, else all, and tells what became of each.
func Run(tests []Test) {
	if len(os.Args) > 1 {
		tests = slices.DeleteFunc(tests, func(t Test) bool { return !slices.Contains(os.Args[1:], t.Name) })
	}
	fmt.Println("plan", len(tests))
	for _, t := range tests {
		fmt.Fprintln(os.Stderr, "case", t.Name)
		if err := attempt(t); err != nil {
			fmt.Printf("fail %s: %s\n", t.Name, strings.Join(strings.Fields(err.Error()), " "))
		} else {
			fmt.Println("pass", t.Name)
		}
	}
}

func attempt(t Test) error {
	ctx, cancel := context.WithTimeout(context.Background(), caseTimeMax)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		defer func() {
			thrown := recover()
			if f, ok := thrown.(failure); ok {
				ended <- errors.New(f.what)
			} else if thrown != nil {
				panic(thrown)
			}
			close(ended)
		}()
		t.Run(ctx)
	}()
	// Not every call of every client ends with its context.
	select {
	case err := <-ended:
		return err
	case <-time.After(caseTimeMax + 10*time.Second):
		return fmt.Errorf("not done within %v", caseTimeMax)
	}
}

// Restart has the broker killed and started again.
func Restart() {
	fmt.Println("restart")
	Same("restarted\n", Must(runner.ReadString('\n')), "the runner's answer")
}

func Unique(about string) string { return fmt.Sprintf("%s-%d", about, counter.Add(1)) }

// Numbered returns values of which no two are the same.
func Numbered(count int) []string {
	var values []string
	for i := range count {
		values = append(values, fmt.Sprintf("value-%07d-%s", counter.Add(1), strings.Repeat("x", i%50)))
	}
	return values
}

// Noise returns bytes that no codec makes shorter, the same for a size each time.
func Noise(size int) []byte {
	noise := make([]byte, size)
	_, _ = rand.New(rand.NewSource(int64(size))).Read(noise)
	return noise
}

func Sorted(values []string) []string { return slices.Sorted(slices.Values(values)) }

func Until(what string, holds func() bool) {
	for deadline := time.Now().Add(40 * time.Second); !holds(); time.Sleep(50 * time.Millisecond) {
		Check(time.Now().Before(deadline), "not within 40 s: "+what)
	}
}

func Must[T any](value T, err error) T {
	Ok(err)
	return value
}

func Ok(err error) {
	if err != nil {
		panic(failure{err.Error()})
	}
}

func Refused(expected, found error) {
	Check(errors.Is(found, expected), fmt.Sprintf("expected %v, found %v", expected, found))
}

func Same(expected, found any, what string) {
	e, f := fmt.Sprint(expected), fmt.Sprint(found)
	Check(e == f, fmt.Sprintf("%s: expected %.200s, found %.200s", what, e, f))
}

// Member is what a member of a group has been given and has read so far.
type Member struct {
	mu         sync.Mutex
	partitions int
	records    []string
}

// Assign says how many partitions it has from now on.
func (m *Member) Assign(partitions int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.partitions = partitions
}

// Read adds a record's value.
func (m *Member) Read(value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = append(m.records, string(value))
}

func (m *Member) Partitions() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.partitions
}

func (m *Member) Records() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.records)
}

func Check(holds bool, what string) {
	if !holds {
		panic(failure{what})
	}
}
