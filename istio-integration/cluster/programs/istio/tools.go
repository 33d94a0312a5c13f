// Package istio names the programs of Istio that a cluster of the harness runs; its go.mod has them as tools. Each is built by
// itself: packages of one write to standard output when they are loaded, which is the answer of another.
package istio
