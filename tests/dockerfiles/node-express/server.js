const app = require("express")();

app.get("/hello/:name", (request, response) => response.json({ hello: request.params.name }));
app.listen(3000);
