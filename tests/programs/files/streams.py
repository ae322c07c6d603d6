"""asyncio.start_server on the port that is named, on every address: sends a line back."""

import asyncio
import sys


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    writer.close()


async def main() -> None:
    await (await asyncio.start_server(answer, port=int(sys.argv[1]))).serve_forever()


asyncio.run(main())
