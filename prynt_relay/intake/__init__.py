"""The way in for events: the line protocol, the socket server and the `Acceptor` behind both."""
