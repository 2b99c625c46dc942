// Nohelper is a program that embeds the host and forgot to call its Helper: it
// compiles a module in the folder it is given, whatever its arguments say.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/agenthost/agenthost/host/internal/compile"
)

func main() {
	if len(os.Args) == 3 { // as a user starts it: a folder, and what to print first
		fmt.Print(os.Args[2])
	}
	ctx := context.Background()
	cache, err := compile.OpenCache(os.Args[1], compile.Bounds{Time: time.Minute, Memory: 1 << 30, Module: 1 << 20})
	if err == nil {
		wasm := []byte("\x00asm\x01\x00\x00\x00")
		engine := wazero.NewRuntimeWithConfig(ctx, compile.Runtime())
		_, err = cache.Load(ctx, engine, sha256.Sum256(wasm), func() ([]byte, error) { return wasm, nil }, nil)
	}
	fmt.Println(err)
}
