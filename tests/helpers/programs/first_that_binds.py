import socket

for port in range(20123, 20143):
    with socket.socket() as sock:
        try:
            sock.bind(("", port))
        except OSError:
            continue
        print(port)
        break
