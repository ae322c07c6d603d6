import asyncio


async def answer(reader, writer):
    writer.write(b"hello " + await reader.readline())
    writer.close()


async def main():
    server = await asyncio.start_server(answer, port=8080)
    said = []
    for host in "127.0.0.1", "::1", "localhost":
        reader, writer = await asyncio.open_connection(host, 8080)
        writer.write(b"self\n")
        said.append(await reader.read())
        writer.close()
    assert said == [b"hello self\n"] * 3
    assert {sock.getsockname()[1] for sock in server.sockets} == {8080}
    await server.serve_forever()


asyncio.run(main())
