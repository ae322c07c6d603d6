import os
import socket
import threading

port, failed, count = int(os.environ["PORT"]), [], []


def work(number):
    for _ in range(20):
        try:
            with (
                socket.socket() as one,
                socket.socket(type=socket.SOCK_DGRAM) as two,
                socket.socket(socket.AF_UNIX) as three,
            ):
                one.bind((f"127.0.1.{number}", port))
                one.listen()
                two.bind(("127.0.0.1", 0))
                three.bind(f"\0anyport-{os.getpid()}-{number}")
                count.append(1)
        except OSError as error:
            failed.append(error)


threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 51)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(count), failed)
