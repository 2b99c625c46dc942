// Nohelper is a program that embeds the host and forgot to call its Helper: it
// compiles a module in the folder it is given, whatever its arguments say.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/agenthost/agenthost/host/internal/compile"
)

func main() {
	if len(os.Args) == 3 { // as a user starts it: a folder, and what to print first
		fmt.Print(os.Args[2])
	}
	ctx := context.Background()
	cache, err := compile.OpenCache(ctx, os.Args[1], compile.Bounds{Time: time.Minute, Memory: 1 << 30, Module: 1 << 20})
	if err == nil {
		_, err = cache.Module(ctx, []byte("\x00asm\x01\x00\x00\x00"), nil)
	}
	fmt.Println(err)
}
