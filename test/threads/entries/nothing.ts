export default { listen() {} }
