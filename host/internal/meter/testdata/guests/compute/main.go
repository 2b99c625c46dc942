// Command compute is a guest with a bit of everything: hashing, allocation, maps, sorting, closures, deferred recovery,
// goroutines and formatting. Its argument is how often to hash; what it prints depends on nothing else.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
)

func main() {
	sum := sha256.Sum256(nil)
	rounds := 200
	if len(os.Args) > 1 {
		rounds, _ = strconv.Atoi(os.Args[1])
	}
	for range rounds {
		sum = sha256.Sum256([]byte(strings.Repeat(string(sum[:]), 32)))
	}
	fmt.Printf("sha256 %x\n", sum)

	words := map[string]int{}
	for i := range 2000 {
		words[strconv.Itoa(i*i%997)]++
	}
	keys := make([]string, 0, len(words))
	for k := range words {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	text, err := json.Marshal(words)
	fmt.Println(len(keys), keys[:3], len(text), err)

	fmt.Println(recovered(func() { fmt.Println(keys[len(keys)+depth(500)]) }))

	results := make(chan float64)
	for i := range 8 {
		go func() {
			x := 1.0
			for range 1000 {
				x = x*1.0000001 + float64(i)/3
			}
			results <- x
		}()
	}
	total := 0.0
	for range 8 {
		total += <-results
	}
	fmt.Printf("%.6f\n", total)
}

func depth(n int) int {
	if n == 0 {
		return 0
	}
	return depth(n-1) + 1
}

func recovered(f func()) (err any) {
	defer func() { err = recover() }()
	f()
	return nil
}
