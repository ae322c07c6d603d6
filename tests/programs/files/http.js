// node's http server on $PORT, or on the socket that it inherits.
const server = require('http').createServer((request, response) => response.end('hello\n'));
server.listen(process.env.LISTEN_FDS ? {fd: 3} : process.env.PORT);
