// Looks names up by Go's own resolver: resolve NAME 4|6. Prints one address per line, or the error.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: resolve NAME 4|6")
		os.Exit(2)
	}
	resolver := net.Resolver{PreferGo: true}
	found, err := resolver.LookupIP(context.Background(), "ip"+os.Args[2], os.Args[1])
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	for _, address := range found {
		fmt.Println(address)
	}
}
