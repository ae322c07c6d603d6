// Listens on the port that is named, on every address, and sends back what it gets first.
package main

import (
	"net"
	"os"
)

func main() {
	server, err := net.Listen("tcp", ":"+os.Args[1])
	if err != nil {
		panic(err)
	}
	for {
		connection, err := server.Accept()
		if err != nil {
			panic(err)
		}
		bytes := make([]byte, 100)
		count, _ := connection.Read(bytes)
		connection.Write(bytes[:count])
		connection.Close()
	}
}
