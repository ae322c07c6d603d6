/** Listens on the port that is named, on every address, and sends back the six bytes that it gets first. */
class Server {
    public static void main(String[] args) throws Exception {
        var server = new java.net.ServerSocket(Integer.parseInt(args[0]));
        while (true) {
            try (var connection = server.accept()) {
                connection.getOutputStream().write(connection.getInputStream().readNBytes(6));
            }
        }
    }
}
