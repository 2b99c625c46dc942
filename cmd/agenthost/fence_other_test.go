//go:build !linux

package main

import "errors"

func noFence() error { return errors.New("it is not Linux") }
