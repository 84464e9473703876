package vswitch

type verdict struct{}
